// What is looked at stands in the address, so that it can be kept, sent and come back to.
document.addEventListener("kairos:swapped", (event) => {
  if (event.target.id !== "figures") return;
  const form = document.getElementById("asked");
  const fields = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", `${location.pathname}?${fields}`);
});

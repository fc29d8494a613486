"""Writes a Berka bank of two accounts, with the traps of the real files, for tests that must run without the data."""

import gzip
from pathlib import Path

FILES = {
    "account": """"account_id";"district_id";"frequency";"date"
1;18;"POPLATEK MESICNE";930103
2;1;"POPLATEK TYDNE";930110
3;1;"POPLATEK PO OBRATU";930111""",
    "client": """"client_id";"birth_number";"district_id"
10;"706213";18
20;"450204";1
21;"405303";1
30;"500101";1""",
    "disp": """"disp_id";"client_id";"account_id";"type"
100;10;1;"OWNER"
200;20;2;"OWNER"
201;21;2;"DISPONENT"
300;30;3;"OWNER\"""",
    "card": """"card_id";"disp_id";"type";"issued"
7;200;"classic";930301 00:00:00
8;100;"gold";960301 00:00:00""",
    "loan": """"loan_id";"account_id";"date";"amount";"duration";"payments";"status"
5;2;930215;96396;12;8033.00;"B\"""",
    "district": "A1;A2;A3;A4;A5;A6;A7;A8;A9;A10;A11;A12;A13;A14;A15;A16\n"
    + """1;"Hl.m. Praha";"Prague";1204953;0;0;0;1;1;100.0;12541;0.29;0.43;167;85677;99107
18;"Jindrichuv Hradec";"south Bohemia";93931;115;8;3;1;4;50.5;8427;?;?;122;?;1874""",
    "trans": """"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"
1;1;930103;"PRIJEM";"VKLAD";800.00;800.00;"";;
2;2;930110;"PRIJEM";"VKLAD";1100.50;1100.50;"";;
3;2;930131;"PRIJEM";"";13.10;1113.60;"UROK";;
4;2;930131;"VYDAJ";"VYBER";14.60;1099.00;"SLUZBY";;
5;2;930210;"VYDAJ";"PREVOD NA UCET";300.00;799.00;"SIPO";"YZ";"87144583"
6;2;930212;"VYDAJ";"PREVOD NA UCET";100.00;699.00;" ";"ST";"89597016"
7;2;930220;"PRIJEM";"PREVOD Z UCTU";5000.00;5699.00;"DUCHOD";"AB";"111"
8;2;930225;"VYBER";"VYBER";200.00;5499.00;;;
9;1;930405;"VYDAJ";"VYBER KARTOU";1000.00;-200.00;"";;
10;1;930406;"VYDAJ";"VYBER";10.00;-210.00;"SANKC. UROK";;""",
}


def write_tiny_berka(folder: Path) -> Path:
    """The folder, with all files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        with gzip.open(folder / f"{name}.asc.gz", "wt", encoding="latin-1") as file:
            file.write(text + "\n")
    return folder

"""A result in the terminal: its tables, notes and verdicts; it is kept for the report too."""

from loadtests.results import Result, write


def tell(result: Result) -> bool:
    """Prints the tables and verdicts, keeps the result; whether every target was reached."""
    for table in result.tables:
        print(f"{table.title}\n\n| {' | '.join(table.columns)} |\n|{'---|' * len(table.columns)}")
        for row in table.rows:
            print("| " + " | ".join(cell if isinstance(cell, str) else f"{cell:,.2f}" for cell in row) + " |")
        print()
    for note in result.notes:
        print(note)
    for verdict in result.verdicts:
        print(
            f"{'holds' if verdict.holds else 'MISSED'}: {verdict.claim}: {verdict.measured} (target {verdict.target})"
        )
    print(f"load of the machine when done: {result.machine['load_1m']}; kept in {write(result).name}", flush=True)
    return all(verdict.holds for verdict in result.verdicts)

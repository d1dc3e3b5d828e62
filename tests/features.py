#!/usr/bin/python3
"""Makes docs/features.md, the list of what clients know of AMQP brokers and which test holds it, of tests/features.txt; and of docs/compatibility.md
the part that leads there: the totals, and what is missing of what counts.

    tests/features.py            writes the tables between the markers of both, prints the totals
    tests/features.py --check    writes nothing; status 1 when the document is not what would be written

Both end with status 1 and a line for each finding when a row is malformed or names a test that does not exist: a file, a function of a
.py file, a function of a .c file that is registered with cmocka, a case of a .cases file. Cases for RabbitMQ alone prove nothing here.
tests/tidy.py calls check().
"""

import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE, DOCUMENT, SUMMARY = "tests/features.txt", "docs/features.md", "docs/compatibility.md"
BEGIN, END = "<!-- made by tests/features.py -->", "<!-- end -->"
PRIORITIES = ("core", "exp", "adv", "-")
# What a row waits for, at the head of its remark: "with the cluster: one node".
WAITS = re.compile(r"with (the cluster|links|TLS|streams|definitions|metrics): ")
# Titles of cases have commas too: only one before a folder of tests/ separates.
SEPARATOR = re.compile(r",\s*(?=(?:spec|e2e|unit|sim|fuzz|fault|suites)/)")


class Row:
    def __init__(self, line, section, fields):
        self.line, self.section = line, section
        self.id, self.feature, self.priority, tests, self.remark = fields
        self.tests = SEPARATOR.split(tests) if tests else []
        waits = WAITS.match(self.remark)
        self.state = waits.group(0)[:-2] if waits else "no" if not self.tests else "partly" if self.remark.startswith("partly:") else "yes"
        self.shown_remark = self.remark[waits.end():] if waits else self.remark.removeprefix("partly: ")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def parse(text):
    """(sections in order, rows, findings as (line, text))."""
    sections, rows, found, seen = [], [], [], set()
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("## "):
            sections.append(line[3:])
        elif line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != 5 or not fields[0] or not sections:
                found.append((number, "a row is: id | feature | priority | tests | remark, below a ## section"))
                continue
            row = Row(number, sections[-1], fields)
            if row.priority not in PRIORITIES:
                found.append((number, f"priority '{row.priority}' is none of {', '.join(PRIORITIES)}"))
            if (row.section, row.id) in seen:
                found.append((number, f"{row.id} is there twice"))
            if row.state == "no" and row.remark.startswith("partly:"):
                found.append((number, f"{row.id} has no test: it cannot be there partly"))
            seen.add((row.section, row.id))
            rows.append(row)
    return sections, rows, found


# --- do the tests exist ---------------------------------------------------------------------------------------------------


def missing_in(path, name, text):
    """What is wrong with this test of the file, or None."""
    if path.endswith(".cases"):
        case = re.search(rf"^case {re.escape(name)}\n((?:.+\n?)*)", text, re.M)
        if not case:
            return "no such case"
        return "a case for RabbitMQ alone" if re.search(r"^only rabbitmq", case.group(1), re.M) else None
    if path.endswith(".py"):
        return None if re.search(rf"^(?:async )?def {re.escape(name)}\(", text, re.M) and name.startswith("test_") else "no such test"
    # Some are made by a macro out of NAME_case, once for each place: FX_PLACED(NAME).
    if not re.search(rf"^(?:[A-Z_]+\(\s*)?{re.escape(name)}\b", text, re.M):
        return "no such function"
    return None if re.search(rf"cmocka_unit_test\w*\(\s*{re.escape(name)}\b", text) else "is not registered"


def wrong_with(test, texts):
    path, _, name = test.partition("::")
    full = "tests/" + path
    if path not in texts:
        texts[path] = read(full) if os.path.isfile(os.path.join(TOP, full)) else None
    if texts[path] is None:
        return "no such file"
    if "::" in test:
        return missing_in(path, name, texts[path])
    has_tests = {".py": r"^def test_", ".c": r"cmocka_unit_test", ".cases": r"^case "}.get(os.path.splitext(path)[1], r"")
    return None if re.search(has_tests, texts[path], re.M) else "no test in it"


def check_tests(rows):
    texts = {}
    for row in rows:
        for test in row.tests:
            wrong = wrong_with(test, texts)
            if wrong:
                yield row.line, f"{row.id}: {test}: {wrong}"


# --- the document ---------------------------------------------------------------------------------------------------------


def totals(rows):
    """(priority, rows, with a test for the whole, for a part, waiting for other work, without) of those that count."""
    for priority in PRIORITIES[:-1]:
        states = [row.state for row in rows if row.priority == priority]
        whole, partly, none = (states.count(state) for state in ("yes", "partly", "no"))
        yield priority, len(states), whole, partly, len(states) - whole - partly - none, none


def cell(text):
    return text.replace("*", "\\*")


def tests_cell(row):
    """The tests by file: `spec/test_tx.py` (test_a, test_b); no: none."""
    files = {}
    for test in row.tests:
        path, _, name = test.partition("::")
        files.setdefault(path, []).extend([name] if name else [])
    shown = [f"`{path}`" + (": " + "; ".join(f"`{name}`" for name in names) if names else "") for path, names in files.items()]
    return "<br>".join(shown) or "no"


def totals_table(rows):
    out = ["| priority | rows | with a test | partly | waits | no |", "| --- | --- | --- | --- | --- | --- |"]
    return out + ["| " + " | ".join(map(str, line)) + " |" for line in totals(rows)]


def name_of(row):
    # Arguments and keys are names as they are on the wire.
    return row.id if row.id[0].isdigit() else ", ".join(f"`{name}`" for name in row.id.split(", "))


def summary(sections, rows):
    """What is not whole of what counts, without tests: they are in the other document."""
    out = [*totals_table(rows), "", "Core and expected rows that are not whole:", "", "| row | feature | priority | there | remark |",
           "| --- | --- | --- | --- | --- |"]
    for row in rows:
        if row.state != "yes" and row.priority in ("core", "exp"):
            fields = (name_of(row), cell(row.feature) or row.section.split(" ", 1)[1].lower(), row.priority, row.state, cell(row.shown_remark))
            out.append("| " + " | ".join(fields).replace("  ", " ") + " |")
    return "\n".join(out)


def tables(sections, rows):
    out = totals_table(rows)
    for section in sections:
        out += ["", f"## {section}", "", "| # | feature | priority | there | tests | remark |", "| --- | --- | --- | --- | --- | --- |"]
        for row in rows:
            if row.section == section:
                fields = (name_of(row), cell(row.feature), row.priority, row.state, tests_cell(row), cell(row.shown_remark))
                out.append("| " + " | ".join(fields).replace("  ", " ") + " |")
    return "\n".join(out)


def written(document, made):
    """The document with the tables between its markers, or None when it has no markers."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}" if begin and end else None


MADE = {DOCUMENT: tables, SUMMARY: summary}


def check():
    """Findings as (path, line, text)."""
    sections, rows, found = parse(read(SOURCE))
    findings = [(SOURCE, line, text) for line, text in [*found, *check_tests(rows)]]
    for path, make in MADE.items():
        document = read(path)
        wanted = written(document, make(sections, rows))
        if wanted is None:
            findings.append((path, 1, f"has no '{BEGIN}' with '{END}' behind it"))
        elif wanted != document:
            findings.append((path, 1, "is not what tests/features.py makes: run it"))
    return findings


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    sections, rows, _ = parse(read(SOURCE))
    for path, make in {} if arguments else MADE.items():
        document = written(read(path), make(sections, rows))
        if document is not None:
            with open(os.path.join(TOP, path), "w", encoding="utf-8") as f:
                f.write(document)
    findings = check()
    for path, line, text in findings:
        print(f"{path}:{line}: {text}")
    for priority, count, whole, partly, waits, none in totals(rows):
        print(f"{priority}: {whole} of {count} rows whole, {partly} partly, {waits} wait for other work, {none} without")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

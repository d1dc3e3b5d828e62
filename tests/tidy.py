#!/usr/bin/python3
"""What a compiler does not check about this repository. `tests/tidy.py` prints one line a finding; status 1 when there is any.

Folders use only folders below them (and src/cli base and amqp/wire alone, but for the command that reads a data directory); files have at most 800 lines and functions 80 (pure
switch tables apart); each .h and .c says what it is in its first lines; each module .c has its .h; each source is in a
meson.build; each folder has a README.md; no banned functions or words, trailing blanks, tabs, or TODO without an issue number; the list of
features is up to date and names tests that exist (features.py).
With arguments only those files are looked at (the checks of whole folders are left out).
"""

import os
import re
import subprocess
import sys

import features

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Ground floor first. A file may include headers of its own folder and of those before it.
FLOORS = ["src/base", "src/config", "amqp/wire", "src/store", "queue", "exchange", "src/broker", "amqp", "mirror", "federation",
          "src/management", "src"]
CLIENTS = {"src/cli": {"src/cli", "src/base", "amqp/wire"}}
# Files of clients that may use more: `leveretctl store` reads the data directory of a stopped broker, with the code that wrote it.
CLIENT_FILES = {"src/cli/ctl_store": {"src/store"}}
PRODUCT = tuple(f + "/" for f in ("src", "amqp", "exchange", "queue", "mirror", "federation"))

FILE_LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 800, 80, 110
BANNED_FUNCTIONS = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|strncpy|strncat|strtok|gets|alloca|atoi|atol|atof|rand|srand"
                              r"|setjmp|longjmp|system|popen|tmpnam|mktemp|asctime|ctime|gmtime|localtime|usleep)\s*\(")
# What libc allocated itself is freed with free(), and the file says so: `free(x); // scandir's own memory`.
RAW_MEMORY = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|reallocarray|asprintf|vasprintf)\s*\(")
RAW_MEMORY_FILES = {"src/base/mem.c"}
# LV_MIN and LV_MAX work an argument out twice: the second load may see another value.
ATOMIC_TWICE = re.compile(r"\bLV_(?:MIN|MAX)\([^;]*\b(?:atomic_\w*load\w*|load)\s*\(")
WORDS = [(re.compile(p), why) for p, why in (
    (r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))", "TODO without an issue number (write TODO(#12))"),
    (r"\bshared/|/work/", "names a place outside the repository"),
    (r"for now\b|simplified|quick and dirty", "says that it is not finished"),
    (r"registry\.npmjs|deb\.debian\.org", "names the host of a registry"),
)]
TEXT = (".c", ".h", ".py", ".sh", ".md", ".build", ".txt", ".js", ".rb", ".php", ".go", ".java", ".cases", ".conf", ".service", ".ini",
        ".sql", ".html", ".css", ".skip", ".dict", ".options", ".yml", ".json")
NO_README = re.compile(r"^(\.|tests/fuzz/corpus|tests/unit/|tests/spec/cases|tests/e2e/clients|docs|etc)")


class Findings:
    def __init__(self):
        self.lines = []

    def add(self, path, line, text):
        self.lines.append(f"{path}:{line}: {text}")


def tracked():
    """All files that are, or would be, committed."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=TOP, capture_output=True,
                         check=True).stdout.decode()
    return sorted(p for p in set(out.split("\0")) if p and os.path.isfile(os.path.join(TOP, p)))


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


# --- one file -------------------------------------------------------------------------------------------------------------


def check_text(path, text, found):
    lines = text.split("\n")
    if lines[-1] != "" or (len(lines) > 1 and lines[-2] == ""):
        found.add(path, len(lines), "must end with exactly one line end")
    makefile = os.path.basename(path) == "Makefile"
    if path == "tests/tidy.py":
        return  # it names what it forbids
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            found.add(path, number, "trailing blanks")
        if "\t" in line and not makefile and not path.endswith(".go"):
            found.add(path, number, "tab")
        for pattern, why in WORDS:
            if pattern.search(line):
                found.add(path, number, why)


def strip_comments(text):
    """The text with comments and strings blanked, line for line."""
    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token.startswith("/") else '""' if token.startswith('"') else "' '"
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def folder_of(path):
    return os.path.dirname(path)


def check_c(path, text, found):
    code = strip_comments(text)
    if not re.match(r"\s*(//|/\*)", text):
        found.add(path, 1, "does not begin with a comment that says what it is")
    elif path.endswith(".h") and os.path.basename(path) not in text[:200]:
        found.add(path, 1, "the head of a header names the file: `// x.h: what it is`")
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        found.add(path, lines, f"{lines} lines, the limit is {FILE_LINES_MAX}")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > 2 * COLUMNS_MAX:
            found.add(path, number, f"{len(line)} columns")
    for twice in ATOMIC_TWICE.finditer(code):
        found.add(path, code.count("\n", 0, twice.start()) + 1, "LV_MIN or LV_MAX of an atomic load: load it once, before")
    if path.startswith(PRODUCT):
        check_includes(path, text, found)
        for number, line in enumerate(code.split("\n"), 1):
            for banned in BANNED_FUNCTIONS.finditer(line):
                found.add(path, number, f"banned function {banned.group(1)}")
            if path not in RAW_MEMORY_FILES and "own memory" not in text:
                for raw in RAW_MEMORY.finditer(line):
                    found.add(path, number, f"{raw.group(1)} outside src/base/mem.c")
    check_functions(path, code, found)


def check_includes(path, text, found):
    folder = folder_of(path)
    if folder in CLIENTS:
        allowed = CLIENTS[folder].union(*(more for prefix, more in CLIENT_FILES.items() if path.startswith(prefix)))
    else:
        floor = max((f for f in FLOORS if folder == f or folder.startswith(f + "/")), key=len, default=None)
        if floor is None:
            found.add(path, 1, f"folder {folder} has no floor in tests/tidy.py")
            return
        allowed = set(FLOORS[:FLOORS.index(floor) + 1])
    for number, line in enumerate(text.split("\n"), 1):
        included = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if included and (folder_of(included.group(1)) or ".") not in allowed:
            where = folder_of(included.group(1))
            found.add(path, number, f"includes {where or 'a path not from the root'}, which is not below {folder}")


def check_functions(path, code, found):
    """Definitions have their opening and closing brace in the first column."""
    lines, start = code.split("\n"), None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            length = number - start - 1
            if length > FUNCTION_LINES_MAX and not is_switch_table(lines[start:number - 1]):
                name = re.match(r"\w+", lines[start - 2] if start >= 2 else "")
                found.add(path, start, f"function {name.group(0) if name else '?'} has {length} lines, the limit is {FUNCTION_LINES_MAX}")
            start = None


def is_switch_table(body):
    """Most of its lines are cases and what a case does in one line."""
    if not any("switch" in line for line in body):
        return False
    table = sum(1 for line in body if re.match(r"\s*(case\b.*|default:.*|return\b.*;|break;|\})\s*$", line))
    return table >= 0.7 * len([line for line in body if line.strip()])


# --- the whole ------------------------------------------------------------------------------------------------------------


def check_modules(files, found):
    """x.c has x.h, or includes the header of its folder that declares what is in it."""
    headers = {f for f in files if f.endswith(".h")}
    for path in files:
        if not path.endswith(".c") or not path.startswith(PRODUCT) or path == "src/main.c":
            continue
        included = re.findall(r'^\s*#\s*include\s+"([^"]+)"', read(path), re.M)
        if path[:-2] + ".h" not in headers and not any(folder_of(i) == folder_of(path) for i in included):
            found.add(path, 1, "has no header of its own, and includes none of its folder's")


def check_sources_are_built(files, found):
    built = {}
    for path in files:
        if os.path.basename(path) == "meson.build":
            text = read(path)
            built[folder_of(path)] = text
    for path in files:
        if not path.endswith(".c") or not (path.startswith(PRODUCT) or path.startswith(("tests/unit", "tests/fuzz", "tests/bench"))):
            continue
        folder, base = folder_of(path), os.path.basename(path)
        name = re.sub(r"^(test|fuzz)_", "", base[:-2])
        texts = [t for f, t in built.items() if f == folder or folder.startswith(f + "/") or f == ""]
        if not any(f"'{base}'" in t or f"/{base}'" in t or re.search(rf"'{re.escape(name)}'", t) for t in texts):
            found.add(path, 1, "is in no meson.build")


def check_readmes(files, found):
    folders = {folder_of(p) for p in files if folder_of(p)}
    for folder in sorted(folders):
        if NO_README.match(folder):
            continue
        if f"{folder}/README.md" not in files:
            found.add(folder, 1, "has no README.md")


def main(arguments):
    everything = tracked()
    chosen = [os.path.relpath(os.path.abspath(a), TOP) for a in arguments] or everything
    found = Findings()
    for path in chosen:
        if not path.endswith(TEXT) and path not in ("dev", ".ci/run", "meson_options.txt"):
            continue
        if "/corpus/" in path:
            continue
        text = read(path)
        check_text(path, text, found)
        if path.endswith((".c", ".h")):
            check_c(path, text, found)
    if not arguments:
        check_modules(everything, found)
        check_sources_are_built(everything, found)
        check_readmes(set(everything), found)
        for path, line, text in features.check():
            found.add(path, line, text)
    print("\n".join(found.lines))
    print(f"tidy: {len(chosen)} files, {len(found.lines)} findings")
    return 1 if found.lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/python3
"""Makes the C file that holds the console: `embed.py OUT.c NAME=FILE...`.

Every file but index.html gets a name with a digest of its bytes in it, so that it may be cached for ever; where another file refers to it
(`import … from "./x.js"`, `src="console/x.js"`, `href="console/x.css"`) the new name stands. Modules are renamed after those that they
import: a circle of imports is an error. Each file is there twice, plain and compressed by gzip.
"""

import gzip
import hashlib
import os
import re
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}
IMPORT = re.compile(rb'((?:\bfrom|\bimport|\bimport\()\s*")\./([\w.-]+)(")')
ELEMENT = re.compile(rb'((?:src|href)=")console/([\w.-]+)(")')


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def hashed(name, content):
    stem, extension = os.path.splitext(name)
    return f"{stem}.{digest(content)}{extension}"


def rename(files):
    """[(path, name, content)] with the references renamed."""
    done, under_way = {}, []

    def replace(pattern, content, before):
        return pattern.sub(lambda m: m[1] + before + finish(m[2].decode()).encode() + m[3], content)

    def finish(name):
        if name in under_way:
            sys.exit("circle of imports: " + " -> ".join([*under_way, name]))
        if name not in files:
            sys.exit(f"{under_way[-1]} refers to {name}, which is not there")
        if name not in done:
            under_way.append(name)
            content = files[name]
            if name.endswith(".js"):
                content = replace(IMPORT, content, b"./")
            elif name.endswith(".html"):
                content = replace(ELEMENT, content, b"console/")
            under_way.pop()
            done[name] = (hashed(name, content), content)
        return done[name][0]

    for name in sorted(files):
        finish(name)
    return [("/" if name == "index.html" else "/console/" + renamed, name, content)
            for name, (renamed, content) in sorted(done.items())]


def array(name, content):
    lines = [", ".join(map(str, content[at:at + 40])) for at in range(0, len(content), 40)]
    return f"static const uint8_t {name}[] = {{\n" + ",\n".join(lines) + "\n};\n"


def main(out, arguments):
    files = {}
    for argument in arguments:
        name, _, path = argument.partition("=")
        with open(path, "rb") as f:
            files[name] = f.read()
    text, rows = ['// Made by embed.py.\n#include "src/management/console.h"\n\n'], []
    for number, (path, name, content) in enumerate(rename(files)):
        compressed = gzip.compress(content, 9, mtime=0)
        text += [array(f"plain_{number}", content), array(f"gzip_{number}", compressed)]
        rows.append(f'    {{"{path}", "{TYPES[os.path.splitext(name)[1]]}", "\\"{digest(content)}\\"", plain_{number}, gzip_{number}, '
                    f'sizeof plain_{number}, sizeof gzip_{number}, {"false" if name == "index.html" else "true"}}},\n')
    text += ["const struct console_file console_files[] = {\n", *rows, "};\n",
             f"const size_t console_file_count = {len(rows)};\n"]
    with open(out, "w", encoding="ascii") as f:
        f.writelines(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

#!/usr/bin/env python3
"""Every key that the configuration says is carried out must be read by somebody: a key that nobody reads is a silent lie.

Takes the fields of the honoured rows of src/config/config_table.c (and the lists that config_apply.c fills by pattern) and looks
for a read of each in the files that can see a struct config: src/*.c, and src/base/log.c for what is in struct log_config.
Run with --self-test to see that it notices an unread field.
"""

import glob
import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

# Honoured rows without a field of their own: pattern to the member of struct config that config_apply.c fills from them.
BY_PATTERN = {
    "listeners.tcp.$name": "tcp_listeners",
    "listeners.tcp": "tcp_listener_count",
    "loopback_users.$user": "loopback_users",
    "loopback_users": "loopback_users",
    "default_user_tags.$tag": "default_user_tags",
    "default_limits.vhosts.$id.pattern": "vhost_limits",
    "default_limits.vhosts.$id.max_connections": "vhost_limits",
    "default_limits.vhosts.$id.max_queues": "vhost_limits",
    "default_limits.vhosts.$id.max_publish_rate": "vhost_limits",
    "default_limits.vhosts.$id.max_publish_bytes_rate": "vhost_limits",
    "message_interceptors.incoming.set_header_timestamp": "intercept_timestamp",
    "message_interceptors.incoming.set_header_timestamp.overwrite": "intercept_timestamp",
    "message_interceptors.incoming.set_header_routing_node": "intercept_routing_node",
    "message_interceptors.incoming.set_header_routing_node.overwrite": "intercept_routing_node",
    "server_properties.$name": "server_properties",
    "default_policies.operator.$id.vhost_pattern": "vhost_pattern",
    "default_policies.operator.$id.queue_pattern": "queue_pattern",
    "management.cors.allow_origins.$name": "management_cors_origins",
    "management.cors.allow_origins": "management_cors_origins",
    "definitions.import_backend": "load_definitions",
    "log.console.formatter": "log.is_json",
    "log.file.formatter": "log.is_json",
    "log.dir": "log.file",
    "log.file": "log.file",
}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def code_of(text):
    """Without comments, and without the contents of strings."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"|//[^\n]*', lambda m: '""' if m.group().startswith('"') else "", text)


def honoured():
    """(pattern, member) of each honoured row; member is "" when the row has no field and is not in BY_PATTERN."""
    rows = re.split(r"\{HONOURED\(", read("src/config/config_table.c"))[1:]
    for row in rows:
        pattern = re.match(r'"([^"]+)"', row).group(1)
        field = re.search(r"FIELD\(([^()]+?)(\[\w+\])?\)", row)
        yield pattern, field.group(1) if field else BY_PATTERN.get(pattern, "definition" if pattern.startswith("default_policies.operator.") else "")


def is_read(member, code):
    """The last part of a member is used other than as the target of an assignment or in an initialiser."""
    name = re.escape(member.rsplit(".", 1)[-1])
    return re.search(r"(->|\.)" + name + r"\b(?!\s*=[^=])", code) is not None


def unread(rows):
    top = "\n".join(code_of(read(os.path.relpath(path, ROOT))) for path in sorted(glob.glob(os.path.join(ROOT, "src", "*.c"))))
    log = code_of(read("src/base/log.c"))
    for pattern, member in rows:
        if not member:
            yield f"{pattern}: the row has no field; name the member it fills in BY_PATTERN"
        elif not is_read(member, log if member.startswith("log.") else top):
            yield f"{pattern}: nobody reads config.{member}"


def main():
    if "--self-test" in sys.argv:
        planted = [("planted.key", "no_such_member"), ("planted.other", "")]
        found = list(unread(planted))
        print("\n".join(found))
        return 0 if len(found) == len(planted) else 1
    rows = list(honoured())
    problems = list(unread(rows))
    print("\n".join(problems) if problems else f"{len(rows)} honoured keys, each is read")
    return 1 if problems or len(rows) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes one C file of the page of a comparison: markup, style, script, and the chart library with its licence.

    embed.py OUTPUT.c PAGE.html PAGE.css PAGE.js LICENSE LIBRARY.js...

Scripts and style are named by their hashes in the page's Content Security Policy, so that a browser runs nothing else.
"""
import base64
import hashlib
import pathlib
import re
import sys

# Where a report puts its own text, in this order.
SLOTS = ("@TEXT@", "@DATA@")


def digest(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def literal(text):
    """text as lines of C string literals: bytes that C could read otherwise are octal."""
    escaped = (chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode())
    lines, line = [], ""
    for part in escaped:
        if len(line) + len(part) > 96:
            lines.append(line)
            line = ""
        line += part
    return "\n".join(f'    "{each}"' for each in [*lines, line])


def main(output, page, style, script, license_text, *libraries):
    read = [pathlib.Path(name).read_text(encoding="utf-8") for name in (page, style, script, license_text)]
    page, style, script, license_text = read
    library = f"/* D3, https://d3js.org\n\n{license_text.strip()} */\n"
    for name in libraries:
        # The address of a source map would be asked for.
        library += re.sub(r"\n?//# sourceMappingURL=.*", "", pathlib.Path(name).read_text(encoding="utf-8")).strip() + "\n"
    for what in (library, script):
        if re.search(r"</script|<!--", what, flags=re.IGNORECASE):
            sys.exit("embed.py: a script holds what would end it")
    for slot, value in (
        ("@SCRIPT_HASHES@", f"{digest(library)} {digest(script)}"),
        ("@STYLE_HASH@", digest(style)),
        ("@STYLE@", style),
    ):
        page = page.replace(slot, value)
    # Last, and at once: what they hold is not looked at again.
    parts = re.split("|".join(SLOTS), page)
    if len(parts) != len(SLOTS) + 1:
        sys.exit("embed.py: the page has not each slot once")
    parts = [re.sub("@(LIBRARY|SCRIPT)@", lambda m: library if m[1] == "LIBRARY" else script, part) for part in parts]
    with open(output, "w", encoding="ascii") as out:
        out.write('/* Made by embed.py: do not edit. */\n#include "report/html_page.h"\n\n')
        out.write("const struct html_part html_parts[HTML_PARTS] = {\n")
        for part in parts:
            out.write(f"    {{{len(part.encode())},\n{literal(part)}}},\n")
        out.write("};\n")


if __name__ == "__main__":
    if len(sys.argv) < 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""A build is installed under a prefix of its own, with a space in its name, and used from there: by programs that know
only heapsnap.pc, and through the commands."""
import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

SOURCE = os.environ["SOURCE_ROOT"]
COMMAND = os.environ["COMMAND_NAME"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]

OUTSIDE_PROGRAM = r"""
#include <heapsnap/heapsnap.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    char built[32];
    snprintf(built, sizeof built, "%d.%d.%d", SNAP_API_VERSION_MAJOR, SNAP_API_VERSION_MINOR, SNAP_API_VERSION_PATCH);
    if (strcmp(built, snap_version()) != 0)
        return 1;
    printf("%s %s\n", snap_version(), snap_error_name(SNAP_E_CORRUPT));
    return 0;
}
"""


def run(*command, cwd=None, env=None, status=0):
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != status:
        raise AssertionError(f"{command} ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="heapsnap install ")
        cls.top = cls.temporary.name
        cls.prefix = os.path.join(cls.top, "prefix")
        build = os.path.join(cls.top, "build")
        run("meson", "setup", build, SOURCE, f"--prefix={cls.prefix}", "--libdir=lib", "-Dtests=disabled",
            "-Doptimization=0", f"-Dcommand_name={COMMAND}")
        run("meson", "compile", "-C", build)
        run("meson", "install", "-C", build, "--no-rebuild")
        shutil.rmtree(build)  # nothing installed may depend on it
        cls.lib = os.path.join(cls.prefix, "lib")
        cls.env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(cls.lib, "pkgconfig"), LD_LIBRARY_PATH=cls.lib)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def pkg_config(self, *arguments):
        # It escapes the space in the prefix; a shell would undo that.
        return shlex.split(run("pkg-config", *arguments, "heapsnap", env=self.env))

    def compile(self, compiler, name, text, *arguments):
        source = os.path.join(self.top, name)
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        return run(compiler, *WARNINGS, *arguments, source, *self.pkg_config("--cflags"), cwd=self.top, env=self.env)

    def test_outside_program(self):
        source = os.path.join(self.top, "outside.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(OUTSIDE_PROGRAM)
        program = os.path.join(self.top, "outside")
        run("cc", "-std=c11", *WARNINGS, source, "-o", program, *self.pkg_config("--cflags", "--libs"), env=self.env)
        version = run("pkg-config", "--modversion", "heapsnap", env=self.env).strip()
        self.assertEqual(run(program, env=self.env), f"{version} CORRUPT\n")

    def test_each_header_stands_alone(self):
        headers = sorted(glob.glob(os.path.join(self.prefix, "include/heapsnap/*.h")))
        self.assertIn("snapdef.h", [os.path.basename(header) for header in headers])
        for header in headers:
            name = os.path.basename(header)
            with self.subTest(header=name):
                self.compile("cc", "alone.c", f"#include <heapsnap/{name}>\nint main(void) {{ return 0; }}\n",
                             "-std=c11", "-fsyntax-only")

    def test_headers_from_cxx(self):
        if not shutil.which("c++"):
            self.skipTest("no C++ compiler")
        self.compile("c++", "outside.cpp", "#include <heapsnap/heapsnap.h>\nint main() { return snap_version() == nullptr; }\n",
                     "-std=c++17", "-fsyntax-only")

    def test_library_name_and_symbols(self):
        library = os.path.join(self.lib, "libheapsnap.so")
        with open(os.path.join(SOURCE, "lib/include/heapsnap/common.h"), encoding="utf-8") as header:
            major = re.search(r"SNAP_API_VERSION_MAJOR (\d+)", header.read())[1]
        self.assertRegex(run("readelf", "-d", library), rf"SONAME.*\[libheapsnap\.so\.{major}\]")
        lines = run("nm", "-D", "--defined-only", library).splitlines()
        names = [line.split()[-1].split("@")[0] for line in lines if " A " not in line]
        self.assertIn("snap_version", names)
        self.assertEqual([name for name in names if not name.startswith("snap_")], [])

    def test_every_declared_function_is_there(self):
        defined = {line.split()[-1].split("@")[0] for line in
                   run("nm", "-D", "--defined-only", os.path.join(self.lib, "libheapsnap.so")).splitlines()}
        declared = set()
        for header in glob.glob(os.path.join(self.prefix, "include/heapsnap/*.h")):
            with open(header, encoding="utf-8") as file:
                declared.update(re.findall(r"^SNAP_API [^;{]*?\b(snap_\w+)\(", file.read(), re.MULTILINE))
        self.assertGreater(len(declared), 20)
        self.assertEqual(sorted(declared - defined), [])

    def test_recorder_needs_nothing_but_libc(self):
        found = glob.glob(os.path.join(self.lib, "**/libheapsnap-preload.so"), recursive=True)
        if not found:
            self.skipTest("built without the recorder")
        needed = set(re.findall(r"NEEDED.*\[(.*?)\]", run("readelf", "-d", found[0])))
        self.assertLessEqual(needed, {"libc.so.6", "ld-linux-x86-64.so.2"})

    def test_commands(self):
        commands = sorted(os.listdir(os.path.join(self.prefix, "bin")))
        self.assertIn(COMMAND, commands)
        for command in commands:
            with self.subTest(command=command):
                path = os.path.join(self.prefix, "bin", command)
                self.assertIn("(heapsnap)", run(path, "--version"))
                self.assertIn("Usage:", run(path, "--help"))

    def test_run_from_the_prefix(self):
        if not glob.glob(os.path.join(self.lib, "**/libheapsnap-preload.so"), recursive=True):
            self.skipTest("built without the recorder")
        if not glob.glob(os.path.join(self.prefix, "libexec/**/heapsnap-write"), recursive=True):
            self.skipTest("built without the process that writes for the recorder")
        snapshot = os.path.join(self.top, "echo.snap")
        out = run(os.path.join(self.prefix, "bin", COMMAND), "run", "-o", snapshot, "--", "/bin/echo", "hello")
        self.assertEqual(out, "hello\n")
        run(os.path.join(self.prefix, "bin", COMMAND), "verify", snapshot)


if __name__ == "__main__":
    unittest.main(verbosity=2)

/* Writes a good capture stream, without its HELLO and TARGET, to standard output: where changes
 * start from. With an argument one of objects only. */
#include "support/wire_stream.h"

#include <stdio.h>

int main(int argc, char **argv) {
    (void)argv;
    struct wire_stream s = {0};
    wire_process(&s);
    if (argc > 1)
        wire_final_example(&s, 1);
    else
        wire_example(&s);
    const size_t n = fwrite(s.bytes.data, 1, s.bytes.size, stdout);
    const int failed = n != s.bytes.size || fclose(stdout) != 0;
    wire_release(&s);
    return failed;
}

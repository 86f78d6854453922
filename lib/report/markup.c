/* Text between tags, for HTML and XML. Knows no tag. */
#include "report/markup.h"

#include <string.h>

void markup_text(FILE *out, const char *text) {
    while (*text != '\0') {
        const size_t plain = strcspn(text, "<>&\"'");
        fwrite(text, 1, plain, out);
        text += plain;
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default: return;
        }
        text++;
    }
}

void markup_json(FILE *out, const char *text) {
    while (*text != '\0') {
        const size_t plain = strcspn(text, "<>&");
        fwrite(text, 1, plain, out);
        text += plain;
        if (*text != '\0')
            fprintf(out, "\\u%04x", (unsigned)*text++);
    }
}

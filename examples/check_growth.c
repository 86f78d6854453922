/* A test with Check that fails when what it does leaves memory behind.
 *
 *     snap run -q -- ./check_growth          passes
 *     snap run -q -- ./check_growth leak     its twin, which keeps every message, fails */
#include <check.h>
#include <heapsnap/check.h>

#include <stdlib.h>
#include <string.h>

struct message {
    struct message *next;
    char text[100];
};

static struct message *inbox;

static void receive(const char *text) {
    struct message *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    strncpy(m->text, text, sizeof m->text - 1);
    m->next = inbox;
    inbox = m;
}

static void read_all(void) {
    while (inbox) {
        struct message *next = inbox->next;
        free(inbox);
        inbox = next;
    }
}

START_TEST(test_messages_are_read) {
    snap_assert_no_growth({
        for (int i = 0; i < 10; i++)
            receive("hello");
        read_all();
    });
}
END_TEST

START_TEST(test_messages_are_kept) {
    snap_assert_no_growth(receive("hello"););
}
END_TEST

int main(int argc, char **argv) {
    Suite *suite = suite_create("growth");
    TCase *messages = tcase_create("messages");
    tcase_set_timeout(messages, 60);
    tcase_add_test(messages, test_messages_are_read);
    if (argc > 1 && strcmp(argv[1], "leak") == 0)
        tcase_add_test(messages, test_messages_are_kept);
    suite_add_tcase(suite, messages);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}

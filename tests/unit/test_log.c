/* test_log.c - the log's lines: who speaks, what is too unimportant, what is too long, what systemd wants to read. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"

static int saved = -1, from = -1;

static void capture(void)
{
	int ends[2];
	cr_assert_eq(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	saved = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	from = ends[0];
	unsetenv("JOURNAL_STREAM");
}

static void let_go(void)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(from);
}

TestSuite(log, .init = capture, .fini = let_go);

static char *written(void)
{
	static char text[8192];
	ssize_t n = read(from, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

Test(log, a_line)
{
	adv_log_init("someone", ADV_LOG_INFO);
	adv_log_info("%d of %s", 2, "them");
	cr_assert_str_eq(written(), "someone: 2 of them\n");
}

Test(log, what_is_not_shown)
{
	adv_log_init("x", ADV_LOG_WARNING);
	adv_log_debug("no");
	adv_log_info("no");
	adv_log_warning("yes");
	adv_log_error("and yes");
	cr_assert_str_eq(written(), "x: yes\nx: and yes\n");
}

Test(log, levels_for_the_journal)
{
	setenv("JOURNAL_STREAM", "1:2", 1);
	adv_log_init("x", ADV_LOG_DEBUG);
	adv_log_error("a");
	adv_log_debug("b");
	cr_assert_str_eq(written(), "<3>x: a\n<7>x: b\n");
}

Test(log, a_long_line_is_cut)
{
	char many[4096];
	memset(many, 'm', sizeof(many));
	many[sizeof(many) - 1] = '\0';
	adv_log_init("x", ADV_LOG_INFO);
	adv_log_info("%s", many);
	const char *line = written();
	cr_assert_lt(strlen(line), 1025);
	cr_assert_eq(line[strlen(line) - 1], '\n');
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1);
}

Test(log, errno_is_kept)
{
	adv_log_init("x", ADV_LOG_INFO);
	errno = EXDEV;
	adv_log_info("something");
	cr_assert_eq(errno, EXDEV);
}

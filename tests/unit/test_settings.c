/* test_settings.c - what an operator allows in sandboxes: the configuration's lines, whose file it may be, libraries copied. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sandbox/warden.h"
#include "scratch.h"

static struct adv_settings settings;
static struct adv_failure failure;

TestSuite(settings, .init = scratch_make, .fini = scratch_remove);

static int read_text(const char *text)
{
	scratch_write("conf", text, strlen(text));
	return adv_settings_read(&settings, scratch_path("conf"), geteuid() == 0, &failure);
}

static void names(const char *text, const char *expected)
{
	char found[512] = "";
	cr_assert_eq(read_text(text), 0, "%s", failure.text);
	for (unsigned i = 0; i < settings.libraries.nr; i++) {
		strcat(found, i > 0 ? " " : "");
		strcat(found, settings.libraries.names[i]);
	}
	cr_assert_str_eq(found, expected, "%s", text);
}

static void refused(const char *text, const char *word)
{
	cr_assert_lt(read_text(text), 0, "%s", text);
	cr_assert_not_null(strstr(failure.text, word), "%s", failure.text);
}

Test(settings, none)
{
	cr_assert_eq(adv_settings_read(&settings, NULL, true, &failure), 0);
	cr_assert_eq(settings.libraries.nr, 0);
	names("", "");
	names("[sandbox]\n", "");
	names("[sandbox]\nlibraries =\n", "");
	names("[other]\nlibraries = libz.so.1\n", "");
}

Test(settings, lists)
{
	names("[sandbox]\nlibraries = libz.so.1\n", "libz.so.1");
	names("[sandbox]\nlibraries=libz.so.1,liba.so.1 , libb.so.2\tlibc9.so\n",
	      "libz.so.1 liba.so.1 libb.so.2 libc9.so");
	names("[sandbox]\n libraries = libz.so.1 ; a comment\n;libraries = libx.so.1\n",
	      "libz.so.1");
	names("[sandbox]\nlibraries = liba.so.1\nlibraries = libb.so.1\n[pool]\nlibraries = "
	      "libx.so.1\n",
	      "liba.so.1 libb.so.1");
}

Test(settings, what_is_there_anyway_is_not_copied)
{
	names("[sandbox]\nlibraries = libc.so.6 libm.so.6 libz.so.1 libstdc++.so.6 libz.so.1 "
	      "ld-linux-x86-64.so.2\n",
	      "libz.so.1");
}

Test(settings, names_that_are_paths)
{
	refused("[sandbox]\nlibraries = /etc/passwd\n", "plain name");
	refused("[sandbox]\nlibraries = ../libz.so.1\n", "plain name");
	refused("[sandbox]\nlibraries = .hidden\n", "plain name");
}

Test(settings, too_many)
{
	char text[8192] = "[sandbox]\n";
	for (int i = 0; i <= ADV_LIBRARIES_MAX; i++)
		sprintf(text + strlen(text), "libraries = lib%d.so\n", i);
	refused(text, "more than 128");
}

Test(settings, a_line_that_is_too_long)
{
	char text[8192] = "[sandbox]\nlibraries = ";
	memset(text + strlen(text), 'x', 5000);
	refused(text, "longer than");
}

/* It says what tenants may load: nobody else may write it. */
Test(settings, whose_file_it_is)
{
	scratch_write("conf", "[sandbox]\n", 10);
	cr_assert_eq(chmod(scratch_path("conf"), 0666), 0);
	cr_assert_eq(adv_settings_read(&settings, scratch_path("conf"), false, &failure), -EPERM);
	cr_assert_not_null(strstr(failure.text, "chmod go-w"), "%s", failure.text);
	cr_assert_eq(chmod(scratch_path("conf"), 0600), 0);
	if (geteuid() == 0) {
		cr_assert_eq(chown(scratch_path("conf"), 65534, 65534), 0);
		cr_assert_eq(adv_settings_read(&settings, scratch_path("conf"), true, &failure),
			     -EPERM);
		cr_assert_not_null(strstr(failure.text, "make root its owner"), "%s", failure.text);
	}
	cr_assert_lt(adv_settings_read(&settings, "/nonexistent", true, &failure), 0);
	cr_assert_not_null(strstr(failure.text, "/nonexistent"));
	cr_assert_lt(adv_settings_read(&settings, scratch_dir, true, &failure), 0);
}

/* With what they need in turn: libstdc++ is there anyway, what libjansson needs is libc. */
Test(settings, they_are_copied)
{
	int dir = open(scratch_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	names("[sandbox]\nlibraries = libjansson.so.4\n", "libjansson.so.4");
	cr_assert_eq(adv_libraries_copy(&settings.libraries, dir, &failure), 0, "%s", failure.text);
	cr_assert(scratch_has("libjansson.so.4"));
	cr_assert_eq(settings.libraries.nr, 1);
	names("[sandbox]\nlibraries = libno-such-library.so.9\n", "libno-such-library.so.9");
	cr_assert_eq(adv_libraries_copy(&settings.libraries, dir, &failure), -ENOENT);
	cr_assert_not_null(strstr(failure.text, "libno-such-library.so.9"), "%s", failure.text);
	close(dir);
}

/* ---- the sentences ---- */

Test(failure, what_errno_and_hint)
{
	cr_assert_eq(adv_failure_set(&failure, ENOENT, "make %it", "no %s", "file"), -ENOENT);
	cr_assert_str_eq(failure.text, "no file: No such file or directory; make %it");
	cr_assert_eq(adv_failure_set(&failure, 0, NULL, "only %d", 1), -EINVAL);
	cr_assert_str_eq(failure.text, "only 1");
}

Test(failure, is_cut)
{
	char many[2 * ADV_REASON_MAX];
	memset(many, 'm', sizeof(many));
	many[sizeof(many) - 1] = '\0';
	cr_assert_eq(adv_failure_set(&failure, EIO, "hint", "%s", many), -EIO);
	cr_assert_eq(strlen(failure.text), ADV_REASON_MAX - 1);
}

/* ---- the other keys ---- */

Test(settings, yes_and_no)
{
	cr_assert_eq(read_text(""), 0);
	cr_assert_not(settings.strict_net);
	cr_assert_eq(settings.core_scheduling, ADV_WISH_AUTO);
	cr_assert_eq(read_text("[sandbox]\nstrict_net = yes\ncore_scheduling = no\n"), 0);
	cr_assert(settings.strict_net);
	cr_assert_eq(settings.core_scheduling, ADV_WISH_NO);
	cr_assert_eq(read_text("[sandbox]\nstrict_net = no\ncore_scheduling = yes ; for now\n"), 0);
	cr_assert_not(settings.strict_net);
	cr_assert_eq(settings.core_scheduling, ADV_WISH_YES);
	refused("[sandbox]\nstrict_net = on\n", "say yes or no");
	refused("[sandbox]\ncore_scheduling = 1\n", "auto, yes or no");
}

/* A wall that is only meant to stand is worse than none. */
Test(settings, a_key_that_there_is_not)
{
	refused("[sandbox]\nstrictnet = yes\n", "strictnet");
	cr_assert_eq(read_text("[pool]\nstrictnet = yes\n"), 0);
}

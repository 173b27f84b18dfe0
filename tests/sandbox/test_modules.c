/* test_modules.c - loading: what deploy is told of a module, and what a hostile one can do while it is loaded. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cases.h"
#include "util/fd.h"

static const struct adv_warden_request inspect_request = {
	.type = ADV_WARDEN_ORDER,
	.id = 3,
	.cpu = -1,
	.memory_bytes = 64 * ADV_MIB,
	.order.type = ADV_ORDER_INSPECT,
};

/* A sandbox that has been told to inspect the module of this descriptor. */
static bool inspect(struct adv_warden *warden, int fd, struct box *b)
{
	if (!check(box_build(warden, 3, ADV_PROFILE_STRICT, b), "a scratch sandbox: %s", b->reason))
		return false;
	box_order(b, &inspect_request, &fd, 1);
	return true;
}

static void test_listed(struct adv_warden *warden, const char *module, bool described,
			const char *const *names, unsigned nr)
{
	struct box b;
	struct adv_sandbox_report r;
	if (!inspect(warden, module_fd(module), &b))
		return;
	for (unsigned i = 0; i < nr; i++)
		check(box_report(&b, &r) && r.type == ADV_REPORT_FUNCTION &&
			      strcmp(r.name, names[i]) == 0 && r.described == described &&
			      (r.text[0] != '\0') == described,
		      "%s: function %u is %s (%s)", module, i, names[i], r.text);
	check(strchr(r.text, '\t') == NULL, "a description is plain text");
	check(box_report(&b, &r) && r.type == ADV_REPORT_LOADED && r.nr_functions == nr &&
		      r.threads == 1,
	      "%s is loaded with %u functions and %u thread", module, r.nr_functions, r.threads);
	box_release(&b);
}

struct refusal {
	const char *module, *words;
};

static const struct refusal refusals[] = {
	{"none", "exports no function"},
	{"newer", "version 2 of the function ABI"},
	{"table", "no proper name"},
	{"undefined", "adverb_test_nowhere"},
	{"jpeg", "libjpeg.so.62, which the sandbox does not have; link it statically"},
};

static void check_refused(struct box *b, const char *what, const char *words)
{
	struct adv_sandbox_report r;
	uint32_t detail;
	check(box_report(b, &r) && r.type == ADV_REPORT_FAILED && r.status == ADV_BAD_MODULE &&
		      strstr(r.text, words) != NULL,
	      "%s is refused: %s", what, r.text);
	check(box_wait_death(b) && adv_death_status(&b->death, &detail) == ADV_LOAD_FAILED,
	      "and its sandbox has ended");
	box_release(b);
}

static void test_refusal(struct adv_warden *warden, const struct refusal *f)
{
	struct box b;
	if (module_fd(f->module) < 0)
		skip("modules", "it was not built", "module %s", f->module);
	else if (inspect(warden, module_fd(f->module), &b))
		check_refused(&b, f->module, f->words);
}

/* The first `size` bytes of the echo module, or a text. */
static void test_broken_file(struct adv_warden *warden, const char *what, size_t size,
			     const char *text)
{
	static char bytes[4096];
	struct box b;
	ADV_CLEANUP_FD int fd = memfd_create("broken", MFD_CLOEXEC);
	if (text != NULL)
		size = strlen(text);
	else if (pread(module_fd("echo"), bytes, size, 0) != (ssize_t)size)
		size = 0;
	if (!check(write(fd, text != NULL ? text : bytes, size) == (ssize_t)size &&
			   fchmod(fd, 0444) == 0,
		   "%s is written", what))
		return;
	if (inspect(warden, fd, &b))
		check_refused(&b, what, "the module cannot be loaded");
}

struct ending {
	const char *module;
	uint32_t status, detail;
};

static const struct ending endings[] = {
	{"constructor_crash", ADV_CRASHED, SIGSEGV},
	{"constructor_socket", ADV_DENIED, SIGSYS},
	{"constructor_leave", ADV_EXITED, 7},
	{"constructor_eat", ADV_OUT_OF_MEMORY, ADV_EXIT_OUT_OF_MEMORY},
};

static void test_constructor(struct adv_warden *warden, const struct ending *e)
{
	struct box b;
	uint32_t detail = 0;
	if (!inspect(warden, module_fd(e->module), &b))
		return;
	bool died = box_wait_death(&b);
	enum adv_status status = adv_death_status(&b.death, &detail);
	check(died && status == e->status && detail == e->detail, "%s ends as %s %u: %s %u",
	      e->module, adv_status_name(e->status), e->detail, adv_status_name(status), detail);
	box_release(&b);
}

/* One that never returns is the node's to kill; one that wants a thread does not get it. */
static void test_constructors(struct adv_warden *warden)
{
	struct box b;
	struct adv_sandbox_report r;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		test_constructor(warden, &endings[i]);
	if (inspect(warden, module_fd("constructor_loop"), &b)) {
		box_kill(&b);
		check(b.death.code != 0 && b.death.status == SIGKILL,
		      "a constructor that loops is killed");
		box_release(&b);
	}
	if (inspect(warden, module_fd("constructor_thread"), &b)) {
		check(box_report(&b, &r) && r.type == ADV_REPORT_FUNCTION && box_report(&b, &r) &&
			      r.type == ADV_REPORT_LOADED && r.threads == 1,
		      "a constructor gets no thread: %u", r.threads);
		box_release(&b);
	}
}

void test_modules(struct adv_warden *warden)
{
	static const char *const echo[] = {"count", "echo", "reverse"};
	static const char *const described[] = {"context", "echo", "refuse", "speak"};
	test_listed(warden, "echo", false, echo, 3);
	test_listed(warden, "described", true, described, 4);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		test_refusal(warden, &refusals[i]);
	test_broken_file(warden, "a text", 0, "#!/bin/sh\nexit 0\n");
	test_broken_file(warden, "an empty file", 0, "");
	test_broken_file(warden, "a cut file", 1000, NULL);
	test_constructors(warden);
}

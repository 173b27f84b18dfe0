/*
 * main.c - tests of the sandbox against the real warden, as root and as an ordinary user. One thread; TAP.
 *
 *	test_sandbox MODULES_DIR
 */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"

#define TEST_USER "tester"
#define NOBODY	  65534

static void run_all(const char *dir)
{
	struct adv_warden warden = start_warden(NULL);
	printf("# as uid %u: root %u, Landlock ABI %u, memory by %s\n", getuid(), warden.facts.root,
	       warden.facts.landlock_abi, warden.facts.cgroup_memory ? "cgroup" : "RLIMIT_DATA");
	check(warden.facts.proto == ADV_WARDEN_PROTO && warden.facts.root == (getuid() == 0),
	      "the warden starts and says what it is");
	test_walls(&warden);
	test_calls(&warden);
	test_ordinary(&warden);
	test_deaths(&warden);
	test_denied(&warden);
	test_modules(&warden);
	test_orders(&warden);
	test_requests(&warden);
	adv_warden_stop(&warden);
	test_end();
	test_configuration(dir);
	test_refused_start();
	test_privileges();
}

/* Modules are open already, so that the user needs no access to where they were built. */
static void become_user(void)
{
	const struct passwd *user = getpwnam(TEST_USER);
	uid_t uid = user != NULL ? user->pw_uid : NOBODY;
	gid_t gid = user != NULL ? user->pw_gid : NOBODY;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
		check(false, "the tests go on as an ordinary user");
		_exit(1);
	}
}

/* In a directory that only the user has. */
static int run_here(void)
{
	char dir[] = "/tmp/adverb-sandbox-XXXXXX";
	if (mkdtemp(dir) == NULL)
		return 1;
	run_all(dir);
	rmdir(dir);
	return 0;
}

static void run_as_user(void)
{
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		become_user();
		_exit(run_here());
	}
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0,
	      "the tests as an ordinary user come to their end");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: test_sandbox MODULES_DIR\n");
		return 2;
	}
	modules_open_all(argv[1]);
	tap = mmap(NULL, sizeof(*tap), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tap == MAP_FAILED || module_fd("echo") < 0) {
		fprintf(stderr, "test_sandbox: no modules in %s\n", argv[1]);
		return 1;
	}
	if (run_here() != 0)
		return 1;
	if (getuid() == 0) {
		test_faults();
		run_as_user();
	}
	printf("1..%u\n", tap->run);
	return tap->failed != 0;
}

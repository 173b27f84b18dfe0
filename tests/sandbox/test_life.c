/* test_life.c - beginning and end of a warden: nothing outlives it, and what it cannot do it says and does not do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "util/fd.h"

#define PIDS 3

/* ---- the end ---- */

static bool ends(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	return poll(&p, 1, WAIT_MS) > 0;
}

static size_t mounts(void)
{
	static char text[1 << 17];
	size_t nr = 0;
	proc_read(getpid(), "mountinfo", text, sizeof(text));
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		nr++;
	return nr;
}

/* An idle one, one that serves, and one that runs away; their pidfds. */
static void populate(struct adv_warden *warden, struct box *boxes, int *pidfds,
		     struct lane_memory *l)
{
	int number = function_number(warden, "acts", "loops");
	for (uint32_t i = 0; i < PIDS; i++) {
		check(box_build(warden, i, ADV_PROFILE_STRICT, &boxes[i]), "a sandbox: %s",
		      boxes[i].reason);
		pidfds[i] = (int)syscall(SYS_pidfd_open, boxes[i].pid, 0);
	}
	check(box_serve(&boxes[1], "echo", &l[0]) && box_serve(&boxes[2], "acts", &l[1]),
	      "two of them serve");
	adv_caller_submit(&l[1].caller, 0, (uint16_t)number, NULL, 0, 1, 0, 0, UINT64_MAX);
}

static void test_end_by(const char *how, bool stop)
{
	struct adv_warden warden = start_warden(NULL);
	struct box boxes[PIDS];
	struct lane_memory l[2];
	int pidfds[PIDS];
	size_t before = mounts();
	lane_create(&l[0], 2, 4096, 4096);
	lane_create(&l[1], 2, 4096, 4096);
	populate(&warden, boxes, pidfds, l);
	if (stop)
		adv_warden_stop(&warden);
	else
		kill(warden.pid, SIGKILL);
	for (int i = 0; i < PIDS; i++)
		check(ends(pidfds[i]), "%s: sandbox %d is gone", how, i);
	check(mounts() == before, "%s: no mount is left", how);
	if (!stop) {
		close(warden.socket);
		check(waitpid(warden.pid, NULL, 0) == warden.pid, "%s: it is reaped", how);
		close(warden.pidfd);
	}
	for (int i = 0; i < PIDS; i++) {
		close(pidfds[i]);
		adv_fd_close(&boxes[i].report);
		adv_fd_close(&boxes[i].log);
	}
	lane_destroy(&l[0]);
	lane_destroy(&l[1]);
}

/* The node is killed: nobody closes anything in order. */
static void test_killed_node(void)
{
	int pipe_fds[2], pid_of[2] = {0, 0};
	if (pipe(pipe_fds) < 0)
		return;
	pid_t node = fork();
	if (node == 0) {
		struct adv_warden warden = start_warden(NULL);
		struct box b;
		box_build(&warden, 0, ADV_PROFILE_STRICT, &b);
		pid_of[0] = warden.pid;
		pid_of[1] = b.pid;
		if (write(pipe_fds[1], pid_of, sizeof(pid_of)) != sizeof(pid_of))
			_exit(1);
		for (;;)
			pause();
	}
	bool told = read(pipe_fds[0], pid_of, sizeof(pid_of)) == sizeof(pid_of);
	int warden = told ? (int)syscall(SYS_pidfd_open, pid_of[0], 0) : -1;
	int sandbox = told ? (int)syscall(SYS_pidfd_open, pid_of[1], 0) : -1;
	kill(node, SIGKILL);
	waitpid(node, NULL, 0);
	check(warden >= 0 && ends(warden), "the node is killed: its warden ends");
	check(sandbox >= 0 && ends(sandbox), "the node is killed: its sandbox ends");
	close(warden);
	close(sandbox);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* SIGTERM and ^C are for the node: the warden goes on until the node lets go. */
static void test_signals(void)
{
	struct adv_warden warden = start_warden(NULL);
	struct box b;
	kill(warden.pid, SIGTERM);
	kill(warden.pid, SIGINT);
	kill(warden.pid, SIGHUP);
	check(box_build(&warden, 0, ADV_PROFILE_STRICT, &b), "the warden ignores SIGTERM");
	check(getsid(warden.pid) == warden.pid, "and is in a session of its own");
	check(getsid(b.pid) == b.pid, "and so is a sandbox: kill(0) does not reach the warden");
	box_release(&b);
	adv_warden_stop(&warden);
	check(warden.socket == -1 && warden.pidfd == -1, "stopping it closes its descriptors");
}

void test_end(void)
{
	test_end_by("the node lets go", true);
	test_end_by("the warden is killed", false);
	test_killed_node();
	test_signals();
}

/* ---- configuration ---- */

static void write_config(const char *path, const char *text, mode_t mode)
{
	unlink(path);
	ADV_CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
		check(false, "%s can be written: %s", path, strerror(errno));
}

static void expect_no_start(const char *what, const char *config, const char *words)
{
	struct adv_warden warden;
	char reason[ADV_REASON_MAX] = "";
	const struct adv_warden_options options = {.config_file = config};
	int rc = adv_warden_start(&options, &warden, reason, sizeof(reason));
	check(rc < 0 && strstr(reason, words) != NULL, "%s: %s", what, reason);
	if (rc == 0)
		adv_warden_stop(&warden);
}

static void test_jpeg(const char *config)
{
	struct adv_warden warden = start_warden(config);
	struct box b;
	struct lane_memory l;
	lane_create(&l, 2, 4096, 4096);
	check(warden.facts.extended == 1, "the facts say that there are further libraries");
	if (module_fd("jpeg") < 0) {
		skip("modules", "it was not built", "module jpeg");
	} else if (check(box_build(&warden, 0, ADV_PROFILE_LIBC, &b) && box_serve(&b, "jpeg", &l),
			 "a module with an allowed library loads: %s", b.reason)) {
		struct adv_result r = call(&b, &l, 0, NULL, 0);
		check(r.status == ADV_OK && r.length > 0, "and uses it: %s",
		      adv_status_text(r.status));
		box_release(&b);
	}
	if (module_fd("jpeg") >= 0) {
		check(box_build(&warden, 1, ADV_PROFILE_STRICT, &b) && !box_serve(&b, "jpeg", &l) &&
			      strstr(b.reason, "libjpeg") != NULL,
		      "in the default set there is none: %s", b.reason);
		box_release(&b);
	}
	adv_warden_stop(&warden);
	lane_destroy(&l);
}

static bool net_of(int pid, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	ssize_t n = readlink(path, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void test_strict_net(const char *config)
{
	char nets[3][64];
	struct box a, b;
	struct adv_warden warden = start_warden(config);
	check(warden.facts.strict_net == 1, "the facts say that networks are strict");
	check(box_build(&warden, 0, ADV_PROFILE_STRICT, &a) &&
		      box_build(&warden, 1, ADV_PROFILE_STRICT, &b),
	      "sandboxes with network namespaces of their own are built: %s %s", a.reason,
	      b.reason);
	/* An ordinary user may not look. */
	if (getuid() == 0)
		check(net_of(a.pid, nets[0], 64) && net_of(b.pid, nets[1], 64) &&
			      net_of(warden.pid, nets[2], 64) && strcmp(nets[0], nets[1]) != 0 &&
			      strcmp(nets[0], nets[2]) != 0,
		      "they share none: %s %s %s", nets[0], nets[1], nets[2]);
	box_release(&a);
	box_release(&b);
	adv_warden_stop(&warden);
}

void test_configuration(const char *dir)
{
	char config[4200];
	snprintf(config, sizeof(config), "%s/adverb.conf", dir);
	unlink(config);
	expect_no_start("a configuration that is not there", config, "could not open");
	expect_no_start("a relative path", "adverb.conf", "absolute path");
	expect_no_start("a directory", dir, "must be a file");
	write_config(config, "[sandbox]\nlibraries = libjpeg.so.62\n", 0666);
	expect_no_start("a configuration that all can write", config, "written by others");
	write_config(config, "[sandbox]\nlibraries = ../lib/evil.so\n", 0600);
	expect_no_start("a library with a path", config, "plain name");
	write_config(config, "[sandbox]\nlibraries=libadverb-nowhere.so.1\n", 0600);
	expect_no_start("a library that is not there", config, "libadverb-nowhere.so.1");
	write_config(config,
		     "# libraries = libadverb-nowhere.so.1\n[node]\nlibraries = "
		     "libadverb-nowhere.so.2\n[sandbox]\n; libraries = x\n"
		     "libraries = libc.so.6 ; known anyway\n",
		     0644);
	struct adv_warden warden = start_warden(config);
	check(warden.facts.strict_net == 0, "networks are shared unless it says strict");
	check(warden.facts.extended == 0,
	      "comments, other sections and known libraries add nothing");
	adv_warden_stop(&warden);
	write_config(config, "[sandbox]\nstrict_net = yes\n", 0600);
	test_strict_net(config);
	write_config(config, "[sandbox]\nstrict-net = yes\n", 0600);
	expect_no_start("a key that there is not", config, "strict-net");
	if (getuid() == 0) {
		write_config(config, "[sandbox]\n", 0600);
		if (chown(config, 65534, 65534) == 0)
			expect_no_start("a configuration of another user's", config,
					"belongs to uid");
	}
	if (access("/usr/lib/x86_64-linux-gnu/libjpeg.so.62", R_OK) == 0) {
		write_config(config, "[sandbox]\nlibraries = libjpeg.so.62\n", 0600);
		test_jpeg(config);
	} else {
		skip("modules", "libjpeg.so.62 is not installed", "the extended library set");
	}
	unlink(config);
}

/* ---- starts that must fail ---- */

static bool write_text(const char *path, const char *text)
{
	ADV_CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Runs `test` in a process whose namespaces it may spoil. */
static void in_child(void (*test)(void))
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		test();
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0,
	      "the test process ends well");
}

static void no_user_namespaces(void)
{
	if (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/sys/user/max_user_namespaces", "0")) {
		skip("userns", "the sysctl cannot be set here", "without user namespaces");
		return;
	}
	expect_no_start("without user namespaces", NULL, "user.max_user_namespaces");
}

static void no_programs_in_memory(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0) {
		skip("userns", "no pid namespace can be made here", "with vm.memfd_noexec=2");
		return;
	}
	pid_t pid = fork();
	if (pid == 0) {
		if (write_text("/proc/sys/vm/memfd_noexec", "2"))
			expect_no_start("with vm.memfd_noexec=2", NULL, "vm.memfd_noexec");
		else
			skip("userns", "the sysctl cannot be set here", "with vm.memfd_noexec=2");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* As root of a user namespace that has no uids to give. */
static void root_without_uids(void)
{
	char map[32];
	snprintf(map, sizeof(map), "0 %u 1", getuid());
	if (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/self/uid_map", map)) {
		skip("userns", "no user namespace can be made here",
		     "as root of a container without uids");
		return;
	}
	expect_no_start("as root of a container without uids", NULL, "of the sandboxes");
}

/* The machine gives out while sandboxes are made: FAILED, and the warden lives on. */
static void few_descriptors(void)
{
	const struct rlimit few = {.rlim_cur = 48, .rlim_max = 48};
	setrlimit(RLIMIT_NOFILE, &few);
	struct adv_warden warden = start_warden(NULL);
	struct box boxes[64];
	unsigned built = 0;
	/* The test's own descriptors are closed at once: the warden is to run out first. */
	while (built < 64 && box_build(&warden, built, ADV_PROFILE_STRICT, &boxes[built])) {
		close(boxes[built].report);
		close(boxes[built].log);
		boxes[built].report = boxes[built].log = -1;
		built++;
	}
	check(built > 0 && built < 64 && strstr(boxes[built].reason, "open files") != NULL,
	      "after %u sandboxes there are no descriptors: %s", built, boxes[built].reason);
	box_release(&boxes[0]);
	check(box_build(&warden, 0, ADV_PROFILE_STRICT, &boxes[0]),
	      "and the next is made when there are: %s", boxes[0].reason);
	adv_warden_stop(&warden);
}

void test_refused_start(void)
{
	in_child(no_user_namespaces);
	if (getuid() == 0) /* who alone can set that sysctl, for a pid namespace */
		in_child(no_programs_in_memory);
	in_child(root_without_uids);
	in_child(few_descriptors);
}

/* ---- the node's privileges ---- */

static void drop(void)
{
	struct adv_warden warden = start_warden(NULL);
	char status[8192], path[64];
	struct box b;
	check(adv_privileges_drop(&warden.facts) == 0, "the node drops its privileges");
	check(geteuid() == warden.facts.node_uid && getegid() == warden.facts.node_gid,
	      "it is uid %u", geteuid());
	proc_read(getpid(), "status", status, sizeof(status));
	check(strcmp(proc_field(status, "CapEff"), "0000000000000000") == 0 &&
		      strcmp(proc_field(status, "CapPrm"), "0000000000000000") == 0,
	      "it has no capabilities");
	check(strcmp(proc_field(status, "NoNewPrivs"), "1") == 0, "and cannot get any");
	if (warden.facts.root) {
		check(setuid(0) < 0, "nor its uid back");
		check(prctl(PR_GET_DUMPABLE) == 0, "it is not dumpable");
	}
	ADV_CLEANUP_FD int memory = memfd_create("lane", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	ADV_CLEANUP_FD int again = open(path, O_RDONLY | O_CLOEXEC);
	check(again >= 0, "it still opens its own memory read-only by /proc/self/fd: %s",
	      strerror(errno));
	check(box_build(&warden, 0, ADV_PROFILE_STRICT, &b), "and its warden goes on: %s",
	      b.reason);
	box_release(&b);
	adv_warden_stop(&warden);
}

void test_privileges(void)
{
	in_child(drop);
}

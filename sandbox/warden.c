/*
 * warden.c - the small privileged process that makes, pins, limits and kills sandboxes at the node's request.
 * Single-threaded. It takes fixed structs, believes nothing in them, never reads from a sandbox and never waits for one.
 * Whatever becomes of the node, its socket then ends here: the warden kills every sandbox, removes their cgroups and exits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/passing.h"

#define CGROUP_SLACK	   (16 * ADV_MIB)
#define REQUESTS_PER_ROUND 64
#define WORKER_SLICE_NS	   (100 * ADV_MS) /* the longest there is */
#define ADDRESS_SPACE	   (64 * ADV_GIB) /* as in confine.c: the limit on memory comes on top */
#define BACKGROUND_NICE	   10
#define PIN_PASSES	   4

/* One sandbox. The slot is its id. */
struct box {
	pid_t pid;  /* 0: free */
	int socket; /* to write orders */
	bool used;  /* has had a sandbox before: late requests for it are no bug */
	bool killed;
	bool waiting;	 /* asked for, not built yet: in the queue */
	bool background; /* at low priority: nobody waits for it */
	bool frozen;
	uint32_t profile;
	int cpu; /* that it is pinned to; -1: none */
	uint64_t
		lease; /* that it is known to serve; 0: none, or one of which it is the only worker */
	uint64_t group;	     /* its cgroup's number */
	uint32_t at;	     /* its place among the living */
	uint64_t core_group; /* whose sandboxes may run beside it on a core; 0: none */
	uint32_t oom_seen;   /* kills in that group that are somebody's death already */
};

/* Those with a process, in no order: there are far more numbers than sandboxes that live. */
struct living {
	uint32_t nr;
	uint32_t ids[ADV_SANDBOXES_MAX];
};

/* Sandboxes to build, once each. Claims and kills do not wait for them: a lease does, and a pool does not. */
struct queue {
	uint32_t head, tail;
	uint32_t ids[ADV_SANDBOXES_MAX];
};

static struct adv_plan plan;
static struct adv_cgroups cgroups;
static struct box *boxes;   /* ADV_SANDBOXES_MAX; not in the memory that sandboxes are copies of */
static struct queue *queue; /* nor this */
static struct living *living;

#define for_each_living(b) \
	for (uint32_t i_ = 0; i_ < living->nr && ((b) = &boxes[living->ids[i_]], true); i_++)

/* ---- to the node ---- */

/* The node always reads. When it is gone there is nobody to tell, and the main loop sees it. */
static int tell(const struct adv_warden_event *event, const int *fds, unsigned nr_fds)
{
	ssize_t n;
	do
		n = adv_send_fds(ADV_FD_NODE, event, sizeof(*event), fds, nr_fds, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void tell_failure(uint32_t type, uint32_t id, const struct adv_failure *failure)
{
	struct adv_warden_event event = {.type = type, .id = id, .error = failure->error};
	memcpy(event.text, failure->text, sizeof(event.text));
	tell(&event, NULL, 0);
}

static void __attribute__((format(printf, 3, 4)))
refuse(uint32_t id, int error, const char *format, ...)
{
	struct adv_failure failure;
	char text[ADV_REASON_MAX / 2];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	adv_failure_set(&failure, error, NULL, "%s", text);
	tell_failure(ADV_EVENT_REFUSED, id, &failure);
}

static void tell_hello(void)
{
	struct adv_warden_event event = {
		.type = ADV_EVENT_HELLO,
		.facts = {.proto = ADV_WARDEN_PROTO,
			  .root = plan.root,
			  .landlock_abi = plan.landlock_abi,
			  .cgroup_memory = plan.cgroup,
			  .cgroup_cpu = plan.cgroup && cgroups.cpu,
			  .cgroup_cpuset = plan.cgroup && cgroups.cpuset,
			  .cgroup_freeze = plan.cgroup && cgroups.freeze,
			  .extended = plan.extended,
			  .strict_net = plan.strict_net,
			  .core_scheduling = plan.core_scheduling,
			  .speculation = plan.speculation,
			  .node_uid = plan.root ? ADV_UID_BASE : plan.uid,
			  .node_gid = plan.root ? ADV_UID_BASE : plan.gid},
	};
	tell(&event, NULL, 0);
}

/* ---- requests ---- */

struct received {
	struct adv_warden_request request;
	int fds[ADV_ORDER_FDS_MAX];
	unsigned nr_fds;
};

/*
 * A worker spins. Where its core is shared, whoever wakes there must not wait for the end of its time slice: with a long slice
 * the scheduler (EEVDF, Linux 6.12) lets every other task with the usual one go first, and shares stay fair. Before
 * that it changes nothing, and what fails only costs latency.
 */
static void yield_to_others(pid_t pid)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr;
	if (syscall(SYS_sched_getattr, pid, &attr, sizeof(attr), 0) < 0)
		return;
	attr.runtime = WORKER_SLICE_NS;
	(void)syscall(SYS_sched_setattr, pid, &attr, 0);
}

/* What nobody waits for is made beside what somebody does. Only root may raise a priority again, so that only root lowers one. */
static void set_own_nice(int nice)
{
	if (plan.root)
		(void)setpriority(PRIO_PROCESS, 0, nice);
}

/* With all threads that it has by now: since its confinement it is the leader of a process group of its own. */
static void to_foreground(struct box *b)
{
	if (b->background)
		(void)setpriority(PRIO_PGRP, (id_t)b->pid, 0);
	b->background = false;
}

static void enqueue(const struct received *r)
{
	uint32_t id = r->request.id;
	if (boxes[id].pid != 0 || boxes[id].waiting || r->request.profile >= ADV_PROFILES ||
	    r->nr_fds != 0) {
		refuse(id, EINVAL, "a request to build sandbox %u, which is in use or of no kind",
		       id);
		return;
	}
	boxes[id].waiting = true;
	boxes[id].profile = r->request.profile;
	boxes[id].background = r->request.background != 0;
	queue->ids[queue->tail++ % ADV_SANDBOXES_MAX] = id;
}

static void build_next(void)
{
	uint32_t id = queue->ids[queue->head++ % ADV_SANDBOXES_MAX];
	struct adv_failure failure;
	struct adv_built built;
	uint64_t begun_ns = adv_clock_monotonic_ns();
	bool background = boxes[id].background;
	boxes[id].waiting = false;
	/* What it clones has its priority. */
	if (background)
		set_own_nice(BACKGROUND_NICE);
	int rc = adv_build(&plan, &cgroups, id, boxes[id].profile, &built, &failure);
	if (background)
		set_own_nice(0);
	if (rc < 0) {
		tell_failure(ADV_EVENT_FAILED, id, &failure);
		return;
	}
	boxes[id] = (struct box){.pid = built.pid,
				 .socket = built.socket,
				 .used = true,
				 .background = background && plan.root,
				 .profile = boxes[id].profile,
				 .cpu = -1,
				 .at = living->nr,
				 .group = built.group};
	living->ids[living->nr++] = id;
	yield_to_others(built.pid);
	const struct adv_warden_event event = {
		.type = ADV_EVENT_BUILT,
		.id = id,
		.pid = built.pid,
		.build_ns = adv_clock_monotonic_ns() - begun_ns,
	};
	const int fds[2] = {built.socket, built.log};
	if (tell(&event, fds, 2) < 0)
		kill(built.pid, SIGKILL); /* DIED tells what became of it */
	close(built.log);
}

/* What it uses by now and `memory_bytes` more. The hard limit stays: a later order may bring more, and the filter denies setrlimit. */
static int limit_data(pid_t pid, uint64_t memory_bytes)
{
	char path[32], text[128];
	unsigned long data_pages;
	snprintf(path, sizeof(path), "%d/statm", pid);
	ADV_CLEANUP_FD int fd = openat(ADV_FD_PROC, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (sscanf(text, "%*u %*u %*u %*u %*u %lu", &data_pages) != 1)
		return -EPROTO;
	const struct rlimit data = {
		.rlim_cur = memory_bytes + (uint64_t)data_pages * ADV_PAGE,
		.rlim_max = RLIM_INFINITY,
	};
	return prlimit(pid, RLIMIT_DATA, &data, NULL) < 0 ? -errno : 0;
}

/*
 * Two limits. RLIMIT_DATA makes an allocation fail, which a function may survive. The cgroup's, where there is one, counts everything, also
 * what the kernel keeps for the process and the pages of its lane that it touches first; so much more it allows.
 */
static int limit_memory(uint32_t id, uint64_t memory_bytes, const struct adv_sandbox_order *order)
{
	const struct rlimit space = {
		.rlim_cur = ADDRESS_SPACE + memory_bytes,
		.rlim_max = RLIM_INFINITY,
	};
	if (memory_bytes == 0)
		return 0;
	if (prlimit(boxes[id].pid, RLIMIT_AS, &space, NULL) < 0)
		return -errno;
	int rc = limit_data(boxes[id].pid, memory_bytes);
	if (rc < 0 || !plan.cgroup)
		return rc;
	uint32_t nr_workers = order->nr_lanes > 0 ? order->nr_lanes : 1;
	uint64_t lane =
		(uint64_t)order->nr_slots * ((uint64_t)order->in_capacity + order->out_capacity);
	return adv_cgroups_limit(&cgroups, boxes[id].group,
				 memory_bytes + nr_workers * (lane + CGROUP_SLACK),
				 boxes[id].profile, nr_workers);
}

/* Into the group of a worker of the same lease, if one lives: memory and processors are limited for all of them together. */
static int join_lease(uint32_t id, uint64_t lease)
{
	struct box *b = &boxes[id];
	if (!plan.cgroup || lease == 0)
		return 0;
	struct box *other;
	for_each_living (other) {
		if (other->lease != lease || other->group == b->group)
			continue;
		int rc = adv_cgroups_join(&cgroups, other->group, b->pid);
		if (rc < 0)
			return rc;
		adv_cgroups_remove(&cgroups, b->group);
		b->group = other->group;
		b->oom_seen = other->oom_seen;
		break;
	}
	b->lease = lease;
	return 0;
}

/* Each thread of a process that may have several; how many were not there yet. A thread that appears has its maker's mask. */
static int pin_threads(pid_t pid, const cpu_set_t *set)
{
	char path[32];
	int nr_moved = 0;
	snprintf(path, sizeof(path), "%d/task", pid);
	int fd = openat(ADV_FD_PROC, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		adv_fd_close(&fd);
		return 0;
	}
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		cpu_set_t now;
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
		if (tid <= 0 || tid == pid || sched_getaffinity(tid, sizeof(now), &now) < 0 ||
		    CPU_EQUAL(&now, set))
			continue;
		nr_moved += sched_setaffinity(tid, sizeof(*set), set) == 0;
	}
	closedir(dir);
	return nr_moved;
}

static int pin(pid_t pid, int cpu, uint32_t profile)
{
	cpu_set_t set;
	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) < 0)
		return -errno;
	for (int i = 0; profile == ADV_PROFILE_THREADS && i < PIN_PASSES; i++)
		if (pin_threads(pid, &set) == 0)
			break;
	return 0;
}

/* Of the kind of another sandbox of its group on this machine's cores, if one lives; else the first of it. */
static int join_core_group(uint32_t id, uint64_t core_group)
{
	struct box *b = &boxes[id];
	if (plan.core_scheduling != ADV_CORE_SCHEDULING_ON || core_group == 0 ||
	    b->core_group == core_group)
		return 0;
	struct box *other;
	for_each_living (other) {
		if (other->core_group != core_group)
			continue;
		int rc = adv_core_cookies_share(other->pid, b->pid);
		/* The other has just died: it lends its kind to nobody any more. */
		if (rc == -ESRCH)
			continue;
		if (rc < 0)
			return rc;
		break;
	}
	b->core_group = core_group;
	return 0;
}

static int forward(const struct box *b, const struct received *r)
{
	ssize_t n = adv_send_fds(b->socket, &r->request.order, sizeof(r->request.order), r->fds,
				 r->nr_fds, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : 0;
}

static bool cpu_ok(int32_t cpu)
{
	return cpu >= -1 && cpu < CPU_SETSIZE;
}

static bool order_ok(const struct received *r)
{
	const struct adv_warden_request *q = &r->request;
	return r->nr_fds != 0 && r->nr_fds == adv_order_fds(&q->order) && cpu_ok(q->cpu) &&
	       q->memory_bytes <= ADV_LEASE_MEMORY_MAX;
}

/* The group of a lease runs where its workers do. What that does to each worker's own mask is mended behind it. */
static int pin_group(const struct box *b)
{
	cpu_set_t all;
	CPU_ZERO(&all);
	struct box *other;
	for_each_living (other)
		if (other->group == b->group && other->cpu >= 0)
			CPU_SET(other->cpu, &all);
	int rc = adv_cgroups_pin(&cgroups, b->group, &all);
	for_each_living (other)
		if (other->group == b->group && rc == 0)
			rc = pin(other->pid, other->cpu, other->profile);
	return rc;
}

/* False: the node has been told. */
static bool pin_box(uint32_t id, int32_t cpu)
{
	struct box *b = &boxes[id];
	if (cpu >= 0)
		b->cpu = cpu;
	int rc = plan.cgroup && cgroups.cpuset ? pin_group(b) : pin(b->pid, cpu, b->profile);
	if (rc == 0 || rc == -ESRCH)
		return true;
	refuse(id, -rc, "could not pin sandbox %u to CPU %d", id, cpu);
	return false;
}

static int thaw(struct box *b)
{
	int rc = b->frozen ? adv_cgroups_freeze(&cgroups, b->group, false) : 0;
	b->frozen = false;
	return rc;
}

static void park(const struct received *r)
{
	uint32_t id = r->request.id;
	struct box *b = &boxes[id];
	to_foreground(b);
	if (!pin_box(id, r->request.cpu) || r->request.freeze == 0)
		return;
	int rc = plan.cgroup && cgroups.freeze ? adv_cgroups_freeze(&cgroups, b->group, true)
					       : -ENOTSUP;
	b->frozen = rc == 0;
	if (rc < 0)
		refuse(id, -rc, "sandbox %u could not be frozen", id);
}

static void order(const struct received *r)
{
	uint32_t id = r->request.id;
	struct box *b = &boxes[id];
	if (!order_ok(r)) {
		refuse(id, EINVAL, "an order for sandbox %u that makes no sense", id);
		return;
	}
	int rc = join_lease(id, r->request.lease);
	if (rc < 0 && rc != -ESRCH) {
		refuse(id, -rc, "sandbox %u could not join its lease's cgroup", id);
		return;
	}
	if (!pin_box(id, r->request.cpu))
		return;
	rc = limit_memory(id, r->request.memory_bytes, &r->request.order);
	if (rc < 0 && rc != -ESRCH && rc != -ENOENT) {
		refuse(id, -rc, "could not limit the memory of sandbox %u", id);
		return;
	}
	rc = join_core_group(id, r->request.core_group);
	if (rc < 0 && rc != -ESRCH) {
		refuse(id, -rc, "sandbox %u could not be put beside its tenant's others", id);
		return;
	}
	if (r->request.order.type != ADV_ORDER_LOAD)
		to_foreground(b);
	/* Limited and pinned as its lease wants it before it runs again. */
	rc = thaw(b);
	if (rc < 0 && rc != -ENOENT) {
		refuse(id, -rc, "sandbox %u could not be thawed", id);
		return;
	}
	rc = forward(b, r);
	/* One that has just died: DIED follows. */
	if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET && rc != -ENOTCONN)
		refuse(id, -rc, "sandbox %u does not take its order", id);
}

static void kill_box(uint32_t id)
{
	boxes[id].killed = true;
	kill(boxes[id].pid, SIGKILL); /* not reaped yet: the pid is still its own */
}

static void obey(const struct received *r)
{
	uint32_t id = r->request.id;
	if (id == ADV_WARDEN_ITSELF && r->request.type == ADV_WARDEN_PIN) {
		int rc = cpu_ok(r->request.cpu) ? pin(0, r->request.cpu, ADV_PROFILE_STRICT)
						: -EINVAL;
		if (rc < 0)
			refuse(id, -rc, "pinning the warden to CPU %d", r->request.cpu);
		return;
	}
	if (id >= ADV_SANDBOXES_MAX) {
		refuse(id, ERANGE, "a request for sandbox %u", id);
		return;
	}
	if (r->request.type == ADV_WARDEN_BUILD) {
		enqueue(r);
		return;
	}
	if (r->request.type < ADV_WARDEN_ORDER || r->request.type > ADV_WARDEN_PARK ||
	    !cpu_ok(r->request.cpu)) {
		refuse(id, EINVAL, "a request of type %u for CPU %d", r->request.type,
		       r->request.cpu);
		return;
	}
	/* A node waits for BUILT; one that does not means what it says. */
	while (boxes[id].waiting)
		build_next();
	if (boxes[id].pid == 0) {
		/* It crossed with DIED on the way. */
		if (!boxes[id].used)
			refuse(id, ESRCH, "a request for sandbox %u, which never was", id);
		return;
	}
	if (r->request.type == ADV_WARDEN_ORDER)
		order(r);
	else if (r->request.type == ADV_WARDEN_PIN)
		pin_box(id, r->request.cpu);
	else if (r->request.type == ADV_WARDEN_PARK)
		park(r);
	else
		kill_box(id);
}

/* Takes one request. 1: there may be more, 0: none, -EPIPE: the node has gone away. */
static int take_request(void)
{
	struct received r;
	union {
		char bytes[CMSG_SPACE(sizeof(int) * ADV_ORDER_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = &r.request, .iov_len = sizeof(r.request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(ADV_FD_NODE, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	if (n <= 0)
		return -EPIPE;
	r.nr_fds = adv_received_fds(&msg, r.fds, ADV_ORDER_FDS_MAX);
	if (n != sizeof(r.request) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		refuse(UINT32_MAX, EPROTO, "a request of %zd bytes", n);
	else
		obey(&r);
	for (unsigned i = 0; i < r.nr_fds; i++)
		close(r.fds[i]);
	return 1;
}

/* ---- deaths ---- */

static uint64_t microseconds_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * ADV_SEC + (uint64_t)t->tv_usec * 1000;
}

static struct box *find(pid_t pid)
{
	struct box *b;
	for_each_living (b)
		if (b->pid == pid)
			return b;
	return NULL;
}

/* Was it killed for want of memory? Each kill that the kernel counts in a group is one death in it. */
static bool leave_group(const struct box *b)
{
	bool killed = adv_cgroups_oom_kills(&cgroups, b->group) > b->oom_seen;
	bool empty = true;
	struct box *other;
	for_each_living (other)
		if (other->group == b->group) {
			other->oom_seen += killed;
			empty = false;
		}
	if (empty)
		adv_cgroups_remove(&cgroups, b->group);
	return killed;
}

static void bury(struct box *b, const siginfo_t *info, const struct rusage *usage)
{
	uint32_t id = (uint32_t)(b - boxes);
	struct adv_warden_event event = {
		.type = ADV_EVENT_DIED,
		.id = id,
		.pid = b->pid,
		.death = {.code = info->si_code,
			  .status = info->si_status,
			  .killed = b->killed,
			  .cpu_ns = microseconds_ns(&usage->ru_utime) +
				    microseconds_ns(&usage->ru_stime),
			  .max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024},
	};
	close(b->socket);
	living->ids[b->at] = living->ids[--living->nr];
	boxes[living->ids[b->at]].at = b->at;
	b->pid = 0;
	b->socket = -1;
	if (plan.cgroup)
		event.death.out_of_memory = leave_group(b);
	tell(&event, NULL, 0);
}

/* Reaps one. The raw call, since it tells both how it died and what it used. False: none is left that is dead. */
static bool reap(int options)
{
	siginfo_t info = {0};
	struct rusage usage = {0};
	if (syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | options, &usage) < 0)
		return errno == EINTR;
	if (info.si_pid == 0)
		return false;
	struct box *b = find(info.si_pid);
	if (b != NULL)
		bury(b, &info, &usage);
	return true;
}

static void reap_all(void)
{
	struct signalfd_siginfo ignored[8];
	while (read(ADV_FD_SIGNALS, ignored, sizeof(ignored)) > 0)
		;
	while (reap(WNOHANG))
		;
}

static void end_all(void)
{
	for (uint32_t i = 0; i < living->nr; i++)
		kill_box(living->ids[i]);
	while (reap(0))
		;
}

/* ---- start ---- */

/* Ends by EOF of its socket alone: a terminal's ^C and a service manager's SIGTERM are for the node. */
static int set_up_signals(struct adv_failure *failure)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2};
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		sigaction(ignored[i], &ignore, NULL);
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) < 0)
		return adv_failure_set(failure, errno, NULL, "could not block SIGCHLD");
	ADV_CLEANUP_FD int fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	ADV_CLEANUP_FD int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (fd < 0 || self < 0)
		return adv_failure_set(failure, errno, "Linux 5.9 or later is needed",
				       "could not watch its children");
	/* First above the fixed numbers, then each to its own: one must not replace the other. */
	ADV_CLEANUP_FD int fd_high = fcntl(fd, F_DUPFD_CLOEXEC, ADV_FD_FREE);
	ADV_CLEANUP_FD int self_high = fcntl(self, F_DUPFD_CLOEXEC, ADV_FD_FREE);
	adv_fd_close(&fd);
	adv_fd_close(&self);
	/* PROC is only kept free by this; prepare.c opens it. */
	if (fd_high < 0 || self_high < 0 || dup3(fd_high, ADV_FD_SIGNALS, O_CLOEXEC) < 0 ||
	    dup3(self_high, ADV_FD_SELF, O_CLOEXEC) < 0 ||
	    dup3(self_high, ADV_FD_PROC, O_CLOEXEC) < 0)
		return adv_failure_set(failure, errno, NULL, "could not arrange its descriptors");
	return 0;
}

/* Two descriptors for each sandbox at most, and as many as the hard limit gives. */
static void raise_files(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* Table and lists are in no sandbox's memory. */
static int set_up_memory(struct adv_failure *failure)
{
	size_t size = ADV_SANDBOXES_MAX * sizeof(struct box) + sizeof(struct queue) +
		      sizeof(struct living);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || madvise(map, size, MADV_DONTFORK) < 0)
		return adv_failure_set(failure, errno, NULL, "could not make its table");
	boxes = map;
	queue = (struct queue *)(boxes + ADV_SANDBOXES_MAX);
	living = (struct living *)(queue + 1);
	return 0;
}

static int set_up(const char *config_file, struct adv_failure *failure)
{
	umask(0);
	raise_files();
	int rc = set_up_signals(failure);
	if (rc == 0)
		rc = set_up_memory(failure);
	if (rc == 0)
		rc = adv_prepare(&plan, &cgroups, config_file, failure);
	/*
	 * Only as root: the files in /proc of a process that is not dumpable belong to root, an ordinary user's warden could not
	 * write the id maps of what it clones. A sandbox makes itself undumpable in any case.
	 */
	if (rc == 0 && plan.root && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		rc = adv_failure_set(failure, errno, NULL, "could not make itself undumpable");
	return rc;
}

static void run(void)
{
	struct pollfd fds[] = {
		{.fd = ADV_FD_NODE, .events = POLLIN},
		{.fd = ADV_FD_SIGNALS, .events = POLLIN},
	};
	for (;;) {
		if (poll(fds, 2, queue->head != queue->tail ? 0 : -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents)
			reap_all();
		for (int i = 0, rc = 1; fds[0].revents && rc > 0 && i < REQUESTS_PER_ROUND; i++) {
			rc = take_request();
			if (rc < 0)
				return;
		}
		if (queue->head != queue->tail)
			build_next();
	}
}

/* `adverb-warden [CONFIG]`, started by adv_warden_start() with its socket as descriptor 3. */
int main(int argc, char **argv)
{
	struct adv_failure failure;
	if (argc > 2 || fcntl(ADV_FD_NODE, F_SETFD, FD_CLOEXEC) < 0) {
		dprintf(STDERR_FILENO, "adverb-warden is a part of adverb serve\n");
		return 2;
	}
	if (set_up(argc == 2 ? argv[1] : NULL, &failure) < 0) {
		tell_failure(ADV_EVENT_FAILED, UINT32_MAX, &failure);
		return 1;
	}
	tell_hello();
	run();
	end_all();
	return 0;
}

/* harness.c - a node in miniature, for tests: warden, sandboxes, lanes. One thread. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fd.h"
#include "util/passing.h"

#define MODULES_MAX  32
#define TEST_MEMORY  (64 * ADV_MIB)
#define FUNCTIONS_OF 16

static const char *const module_names[] = {
	"acts",
	"constructor_crash",
	"constructor_eat",
	"constructor_leave",
	"constructor_loop",
	"constructor_socket",
	"constructor_thread",
	"described",
	"echo",
	"exceptions",
	"jpeg",
	"newer",
	"none",
	"ordinary",
	"table",
	"undefined",
};

static struct {
	const char *name;
	int fd;
	unsigned nr_functions;
	char functions[FUNCTIONS_OF * 4][64];
} modules[MODULES_MAX];

/* ---- TAP ---- */

struct tap *tap;

bool check(bool condition, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("%s %u - ", condition ? "ok" : "not ok", ++tap->run);
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
	va_end(args);
	tap->failed += !condition;
	return condition;
}

/* Is the word in the list "rdma,userns,..."? */
static bool must_have(const char *need)
{
	const char *list = getenv("ADVERB_MUST_HAVE");
	size_t n = strlen(need);
	for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ",")) {
		p += *p == ',';
		if (strncmp(p, need, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	}
	return false;
}

void skip(const char *need, const char *why, const char *format, ...)
{
	bool failure = must_have(need);
	va_list args;
	va_start(args, format);
	printf("%s %u - ", failure ? "not ok" : "ok", ++tap->run);
	vprintf(format, args);
	printf(failure ? " (%s: %s)\n" : " # SKIP %s: %s\n", need, why);
	fflush(stdout);
	va_end(args);
	tap->failed += failure;
}

static void __attribute__((noreturn)) bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

/* ---- records ---- */

void warden_send(struct adv_warden *warden, const void *record, size_t size, const int *fds,
		 unsigned nr_fds)
{
	if (adv_send_fds(warden->socket, record, size, fds, nr_fds, MSG_NOSIGNAL) < 0)
		bail("sendmsg to the warden");
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, timeout_ms) > 0;
}

static bool receive_event(struct adv_warden *warden, struct adv_warden_event *event, int *fds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 2)];
		struct cmsghdr align;
	} control;
	int got[2] = {-1, -1};
	struct iovec iov = {.iov_base = event, .iov_len = sizeof(*event)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	if (recvmsg(warden->socket, &msg, MSG_CMSG_CLOEXEC) != sizeof(*event))
		return false;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c != NULL)
		memcpy(got, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	for (int i = 0; i < 2; i++)
		if (fds != NULL)
			fds[i] = got[i];
		else
			adv_fd_close(&got[i]);
	return true;
}

bool warden_event(struct adv_warden *warden, struct adv_warden_event *event, int *fds)
{
	return readable(warden->socket, WAIT_MS) && receive_event(warden, event, fds);
}

/* ---- sandboxes ---- */

struct adv_warden start_warden(const char *config_file)
{
	struct adv_warden warden;
	char reason[ADV_REASON_MAX];
	const struct adv_warden_options options = {.config_file = config_file};
	if (adv_warden_start(&options, &warden, reason, sizeof(reason)) < 0) {
		printf("Bail out! %s\n", reason);
		fflush(stdout);
		exit(1);
	}
	return warden;
}

unsigned warden_descriptors(const struct adv_warden *warden)
{
	char path[64];
	unsigned nr = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", warden->pid);
	DIR *dir = opendir(path);
	while (dir != NULL && readdir(dir) != NULL)
		nr++;
	if (dir != NULL)
		closedir(dir);
	return nr;
}

/* Takes events until one of this type for this box, or DIED or FAILED for it. */
static bool wait_event(struct box *b, uint32_t type, int *fds)
{
	struct adv_warden_event event;
	while (warden_event(b->warden, &event, fds)) {
		if (event.id != b->id)
			continue;
		if (event.type == ADV_EVENT_DIED)
			b->death = event.death;
		if (event.type == ADV_EVENT_FAILED || event.type == ADV_EVENT_REFUSED)
			memcpy(b->reason, event.text, sizeof(b->reason));
		if (event.type == ADV_EVENT_BUILT) {
			b->pid = event.pid;
			b->build_ns = event.build_ns;
		}
		if (event.type == type)
			return true;
		if (event.type == ADV_EVENT_DIED || event.type == ADV_EVENT_FAILED)
			return false;
	}
	return false;
}

bool box_build(struct adv_warden *warden, uint32_t id, uint32_t profile, struct box *b)
{
	const struct adv_warden_request request = {
		.type = ADV_WARDEN_BUILD, .id = id, .profile = profile, .cpu = -1};
	return box_build_as(warden, &request, b);
}

bool box_build_as(struct adv_warden *warden, const struct adv_warden_request *request,
		  struct box *b)
{
	struct adv_sandbox_report r;
	int fds[2] = {-1, -1};
	memset(b, 0, sizeof(*b));
	b->warden = warden;
	b->id = request->id;
	b->report = b->log = -1;
	warden_send(warden, request, sizeof(*request), NULL, 0);
	if (!wait_event(b, ADV_EVENT_BUILT, fds))
		return false;
	b->report = fds[0];
	b->log = fds[1];
	return box_report(b, &r) && r.type == ADV_REPORT_CONFINED;
}

void box_order(struct box *b, const struct adv_warden_request *request, const int *fds,
	       unsigned nr_fds)
{
	warden_send(b->warden, request, sizeof(*request), fds, nr_fds);
}

bool box_report(struct box *b, struct adv_sandbox_report *r)
{
	if (!readable(b->report, WAIT_MS) ||
	    recv(b->report, r, sizeof(*r), MSG_DONTWAIT) != sizeof(*r))
		return false;
	if (r->type == ADV_REPORT_FAILED)
		memcpy(b->reason, r->text, sizeof(b->reason));
	return true;
}

bool box_wait_death(struct box *b)
{
	return b->death.code != 0 || wait_event(b, ADV_EVENT_DIED, NULL);
}

void box_kill(struct box *b)
{
	const struct adv_warden_request request = {.type = ADV_WARDEN_KILL, .id = b->id, .cpu = -1};
	if (b->death.code == 0) {
		warden_send(b->warden, &request, sizeof(request), NULL, 0);
		box_wait_death(b);
	}
}

void box_release(struct box *b)
{
	box_kill(b);
	adv_fd_close(&b->report);
	adv_fd_close(&b->log);
}

int box_log(struct box *b, char *text, size_t size)
{
	ssize_t n = read(b->log, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	return (int)n;
}

/* ---- modules ---- */

static int read_module(const char *path)
{
	ADV_CLEANUP_FD int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return -1;
	int fd = memfd_create("module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char buffer[16384];
	ssize_t n;
	while ((n = read(file, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, (size_t)n) != n)
			bail("write to a memfd");
	fchmod(fd, 0444);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return fd;
}

void modules_open_all(const char *dir)
{
	for (size_t i = 0; i < sizeof(module_names) / sizeof(module_names[0]); i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/hostile_%s.so", dir, module_names[i]);
		modules[i].name = module_names[i];
		modules[i].fd = read_module(path);
	}
}

static int module_index(const char *name)
{
	for (int i = 0; i < MODULES_MAX && modules[i].name != NULL; i++)
		if (strcmp(modules[i].name, name) == 0)
			return i;
	return -1;
}

int module_fd(const char *name)
{
	int i = module_index(name);
	return i < 0 ? -1 : modules[i].fd;
}

static void inspect(struct adv_warden *warden, int index)
{
	struct box b;
	struct adv_sandbox_report r;
	struct adv_warden_request request = {.type = ADV_WARDEN_ORDER,
					     .id = ADV_SANDBOXES_MAX - 1,
					     .cpu = -1,
					     .order.type = ADV_ORDER_INSPECT};
	if (box_build(warden, request.id, ADV_PROFILE_STRICT, &b)) {
		box_order(&b, &request, &modules[index].fd, 1);
		while (box_report(&b, &r) && r.type == ADV_REPORT_FUNCTION)
			memcpy(modules[index].functions[modules[index].nr_functions++], r.name, 63);
		box_release(&b);
	}
}

int function_number(struct adv_warden *warden, const char *module, const char *name)
{
	int index = module_index(module);
	if (index < 0 || modules[index].fd < 0)
		return -1;
	if (modules[index].nr_functions == 0)
		inspect(warden, index);
	for (unsigned i = 0; i < modules[index].nr_functions; i++)
		if (strcmp(modules[index].functions[i], name) == 0)
			return (int)i;
	return -1;
}

/* ---- lanes ---- */

void lane_create(struct lane_memory *l, uint32_t nr_slots, uint64_t in_capacity,
		 uint64_t out_capacity)
{
	char path[64];
	memset(l, 0, sizeof(*l));
	if (adv_geometry_init(&l->geometry, 1, nr_slots, in_capacity, out_capacity) < 0)
		bail("geometry");
	for (int i = 0; i < ADV_LANE_FILES; i++) {
		l->fds[i] = memfd_create("lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (l->fds[i] < 0 || ftruncate(l->fds[i], (off_t)l->geometry.size[i]) < 0)
			bail("memfd");
		l->map[i] = mmap(NULL, l->geometry.size[i], PROT_READ | PROT_WRITE, MAP_SHARED,
				 l->fds[i], 0);
		if (l->map[i] == MAP_FAILED)
			bail("mmap");
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", l->fds[ADV_LANE_REQ]);
	l->req_read_only = open(path, O_RDONLY | O_CLOEXEC);
	l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->req_read_only < 0 || l->event_fd < 0)
		bail("descriptors of a lane");
	adv_supervisor_format(l->map[0], l->map[1], l->map[2], &l->geometry);
	adv_supervisor_init(&l->supervisor, &l->geometry, 0, l->map[0], l->map[1]);
	adv_caller_init(&l->caller, &l->geometry, 0, l->map[0], l->map[1], l->map[2], l->calls);
	l->next_id = 1;
}

void lane_destroy(struct lane_memory *l)
{
	for (int i = 0; i < ADV_LANE_FILES; i++) {
		munmap(l->map[i], l->geometry.size[i]);
		adv_fd_close(&l->fds[i]);
	}
	adv_fd_close(&l->req_read_only);
	adv_fd_close(&l->event_fd);
}

struct adv_warden_request serve_request(const struct lane_memory *l, uint32_t id, uint32_t type)
{
	return (struct adv_warden_request){
		.type = ADV_WARDEN_ORDER,
		.id = id,
		.cpu = -1,
		.memory_bytes = TEST_MEMORY,
		.order = {.type = type,
			  .nr_lanes = 1,
			  .nr_slots = l->geometry.nr_slots,
			  .in_capacity = l->geometry.in_capacity,
			  .out_capacity = l->geometry.out_capacity,
			  .yield = 1,
			  .generation = l->supervisor.generation,
			  .hot_us = 1000},
	};
}

bool box_serve(struct box *b, const char *module, struct lane_memory *l)
{
	struct adv_sandbox_report r;
	const struct adv_warden_request request = serve_request(l, b->id, ADV_ORDER_LOAD_AND_SERVE);
	const int fds[5] = {module_fd(module), l->req_read_only, l->fds[ADV_LANE_CPL],
			    l->fds[ADV_LANE_SLOTS], l->event_fd};
	box_order(b, &request, fds, 5);
	return box_report(b, &r) && r.type == ADV_REPORT_LOADED;
}

/* The worker has died: the call ends as the death says. */
static void end_by_death(struct box *b, struct lane_memory *l, struct adv_result *result)
{
	uint32_t detail;
	enum adv_status status;
	if (!box_wait_death(b))
		bail("the death of a sandbox");
	status = adv_death_status(&b->death, &detail);
	adv_supervisor_death(&l->supervisor, status, detail);
	if (!adv_caller_poll(&l->caller, result))
		result->status = ADV_WORKER_LOST;
}

struct adv_result call(struct box *b, struct lane_memory *l, uint16_t function, const void *in,
		       uint32_t length)
{
	struct adv_result result = {.status = ADV_NO_NODE};
	uint64_t end_ns = adv_clock_monotonic_ns() + WAIT_MS * ADV_MS;
	if (length > ADV_INLINE_MAX)
		memcpy(adv_caller_in(&l->caller, 0), in, length);
	if (adv_caller_submit(&l->caller, 0, function, in, length, l->next_id++, 0, 5000000,
			      UINT64_MAX) != ADV_OK)
		return result;
	while (!adv_caller_poll(&l->caller, &result)) {
		if (readable(b->warden->socket, 0)) {
			end_by_death(b, l, &result);
			break;
		}
		if (adv_clock_monotonic_ns() > end_ns)
			break;
		adv_pause();
	}
	return result;
}

/* ---- /proc ---- */

bool proc_read(int pid, const char *file, char *text, size_t size)
{
	char path[128];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	ADV_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = -1;
	while (fd >= 0 && used + 1 < size && (n = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return n >= 0;
}

const char *proc_field(const char *text, const char *key)
{
	static char value[256];
	char line[64];
	snprintf(line, sizeof(line), "\n%s:", key);
	const char *found = strstr(text, line);
	value[0] = '\0';
	if (found == NULL)
		return value;
	found += strlen(line);
	found += strspn(found, " \t");
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(found, "\n"), found);
	return value;
}

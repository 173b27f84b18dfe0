/* serve.c - the lane in the sandbox's memory, and the loop that runs calls. The sandbox's only thread. */
#include "sandbox/serve.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* One page more behind every output and behind the inputs, mapped by nothing: writing past the end is a fault. */
#define GUARD ADV_PAGE

static struct {
	struct adv_geometry geometry;
	struct adv_worker_lane_options options;
	const struct adv_loaded *module;
	uint8_t *outputs[ADV_SLOTS_MAX];
} server;

static struct adv_worker_lane lane;

/* The module's context: what it may see, and behind it what only the worker uses. */
static struct {
	struct adv_context ctx;
	struct adv_work work;
} call;

/* ---- mapping ---- */

static int check_file(const struct adv_geometry *g, enum adv_lane_file file, int fd,
		      struct adv_failure *failure)
{
	static const char *const names[] = {"req", "cpl", "slots"};
	struct stat st;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < g->size[file])
		return adv_failure_set(failure, EPROTO, NULL,
				       "the lane's memory %s is too small or not a file",
				       names[file]);
	struct adv_lane_header header;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return adv_failure_set(failure, errno, NULL, "could not read the lane's %s",
				       names[file]);
	int rc = adv_lane_header_check(&header, g, file);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL,
				       "the lane's header of %s does not match the order",
				       names[file]);
	return 0;
}

/*
 * Address space for everything, by one call: the rings, the inputs and each output, with a guard behind each. They are mapped over it.
 * Calls cost microseconds in a process that has just been woken, and its caller waits for them.
 */
static uint8_t *reserve(const struct adv_geometry *g)
{
	uint64_t size = g->req_stride + GUARD + g->cpl_stride + GUARD +
			(uint64_t)g->nr_slots * g->in_capacity + GUARD +
			g->nr_slots * ((uint64_t)g->out_capacity + GUARD);
	void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int map_area(uint8_t *at, uint64_t size, int prot, int flags, int fd, uint64_t offset)
{
	void *p = mmap(at, size, prot, MAP_SHARED | MAP_FIXED | flags, fd, (off_t)offset);
	return p == MAP_FAILED ? -errno : 0;
}

/* Behind the rings: all inputs, then outputs one by one. */
static int map_slots(const struct adv_geometry *g, uint32_t number, int fd, uint8_t *at)
{
	uint64_t inputs_size = (uint64_t)g->nr_slots * g->in_capacity;
	uint8_t *outputs = at + inputs_size + GUARD;
	int rc = map_area(at, inputs_size, PROT_READ | PROT_WRITE, 0, fd,
			  adv_geometry_in(g, number, 0));
	for (uint32_t slot = 0; slot < g->nr_slots && rc == 0; slot++) {
		server.outputs[slot] = outputs + slot * ((uint64_t)g->out_capacity + GUARD);
		rc = map_area(server.outputs[slot], g->out_capacity, PROT_READ | PROT_WRITE, 0, fd,
			      adv_geometry_out(g, number, slot));
	}
	server.options.inputs = at;
	server.options.outputs = server.outputs;
	return rc;
}

static int map_lane(const struct adv_geometry *g, uint32_t number, const int *fds)
{
	uint8_t *req = reserve(g);
	if (req == NULL)
		return -ENOMEM;
	uint8_t *cpl = req + g->req_stride + GUARD;
	int rc = map_area(req, g->req_stride, PROT_READ, MAP_POPULATE, fds[ADV_LANE_REQ],
			  adv_geometry_req(g, number));
	if (rc == 0)
		rc = map_area(cpl, g->cpl_stride, PROT_READ | PROT_WRITE, MAP_POPULATE,
			      fds[ADV_LANE_CPL], adv_geometry_cpl(g, number));
	server.options.req = req;
	server.options.cpl = cpl;
	return rc < 0 ? rc : map_slots(g, number, fds[ADV_LANE_SLOTS], cpl + g->cpl_stride + GUARD);
}

/* A page that other tenants' workers on this core have too: only this side's own figures depend on it. */
static int map_core(const struct adv_sandbox_order *order, int fd)
{
	struct stat st;
	if (order->core == ADV_ORDER_CORE_OWN)
		return 0;
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)ADV_PAGE)
		return -EPROTO;
	void *page = mmap(NULL, ADV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	server.options.core = page;
	server.options.core_worker = order->core == ADV_ORDER_CORE_BUSY ? order->core_worker : 0;
	return 0;
}

static void touch(void *memory, size_t size)
{
	volatile uint8_t *p = memory;
	for (size_t i = 0; i < size; i += ADV_PAGE)
		p[i] = p[i];
}

void adv_serve_rehearse(void)
{
	extern const char __executable_start[], etext[];
	struct stat st;
	char byte;
	for (const char *p = __executable_start; p < etext; p += ADV_PAGE)
		(void)*(const volatile char *)p;
	touch(&server, sizeof(server));
	touch(&lane, sizeof(lane));
	touch(&call, sizeof(call));
	/* libc's part in it. An empty pipe cannot be read so, and that is all the same. */
	if (fstat(STDIN_FILENO, &st) < 0 || pread(STDIN_FILENO, &byte, sizeof(byte), 0) < 0)
		errno = 0;
}

int adv_serve_prepare(const struct adv_sandbox_order *order, const int *fds,
		      const struct adv_ticks *ticks, const struct adv_loaded *module,
		      struct adv_failure *failure)
{
	struct adv_geometry *g = &server.geometry;
	int rc = adv_geometry_init(g, order->nr_lanes, order->nr_slots, order->in_capacity,
				   order->out_capacity);
	if (rc < 0 || order->lane >= order->nr_lanes)
		return adv_failure_set(failure, rc < 0 ? -rc : EINVAL, NULL,
				       "the order's lane geometry is not valid");
	for (unsigned file = 0; file < ADV_LANE_FILES; file++) {
		rc = check_file(g, (enum adv_lane_file)file, fds[file], failure);
		if (rc < 0)
			return rc;
	}
	server.module = module;
	server.options.generation = order->generation;
	server.options.hot_us = order->hot_us;
	server.options.nr_functions = module->nr_functions;
	server.options.yield = order->yield != 0;
	server.options.checked = order->checked != 0;
	server.options.ticks = *ticks;
	rc = map_lane(g, order->lane, fds);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not map its lane");
	rc = map_core(order, fds[ADV_LANE_FILES + 1]);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not map its core's page");
	return 0;
}

/* ---- calls ---- */

/* What the pipe has no room for is dropped: a function must not wait for whoever reads its log. */
static void context_log(struct adv_context *ctx, const char *text, uint32_t length)
{
	int saved = errno;
	(void)ctx;
	ssize_t ignored = write(STDERR_FILENO, text, length);
	(void)ignored;
	errno = saved;
}

/* Runs the call; how it ended, and the length of its output. */
static enum adv_status run(const struct adv_loaded_function *f, struct adv_work *work,
			   uint32_t *length)
{
	enum adv_status status = ADV_OK;
	uint32_t n;
	if (server.module->described) {
		call.ctx.size = sizeof(call.ctx);
		call.ctx.out_capacity = lane.out_capacity;
		call.ctx.call_id = work->call_id;
		call.ctx.deadline_ns = work->budget_us != 0 ? adv_worker_deadline(&lane, work) : 0;
		call.ctx.log = context_log;
		n = f->run.described(&call.ctx, work->in, work->length, work->out);
		if (n & ADV_FAILED) {
			n &= ~ADV_FAILED;
			status = ADV_FUNCTION_FAILED;
		}
	} else {
		n = f->run.classic(work->in, work->length, work->out);
	}
	if (n > lane.out_capacity) {
		n = 0;
		status = ADV_BAD_SIZE;
	}
	*length = n;
	return status;
}

void adv_serve_note_memory(void)
{
	if (lane.progress != NULL)
		atomic_store_explicit(&lane.progress->memory_hint, 1, memory_order_relaxed);
}

void adv_serve(int event_fd)
{
	server.options.event_fd = event_fd;
	adv_worker_lane_init(&lane, &server.geometry, &server.options);
	for (;;) {
		uint32_t length;
		adv_worker_next(&lane, &call.work);
		errno = 0; /* a fault in this call is named by what failed in this call */
		enum adv_status status =
			run(&server.module->functions[call.work.function], &call.work, &length);
		adv_worker_complete(&lane, &call.work, status, length);
	}
}

/* invoke.c - adverb invoke: one call, input and output through files or pipes. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/fd.h"
#include "util/limits.h"

#define FIRST_BYTES (64 * ADV_KIB)

struct bytes {
	char *data;
	size_t size;
};

/* Reads all of it, at most what a slot may carry. */
static int read_all(int fd, const char *name, struct bytes *in)
{
	size_t capacity = FIRST_BYTES;
	in->data = malloc(capacity);
	in->size = 0;
	for (;;) {
		if (in->data == NULL)
			return cli_error("no memory for the input of %s", name);
		ssize_t n = read(fd, in->data + in->size, capacity - in->size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cli_error("cannot read %s: %m", name);
		if (n == 0)
			return EXIT_SUCCESS;
		in->size += (size_t)n;
		if (in->size > ADV_CAPACITY_MAX)
			return cli_error(
				"%s is larger than %llu MiB, the most that one call carries", name,
				(unsigned long long)(ADV_CAPACITY_MAX / ADV_MIB));
		if (in->size == capacity) {
			capacity *= 2;
			char *more = realloc(in->data, capacity);
			if (more == NULL)
				free(in->data);
			in->data = more;
		}
	}
}

static int read_input(const char *path, struct bytes *in)
{
	int fd ADV_CLEANUP_FD = -1;
	if (path == NULL && isatty(STDIN_FILENO)) {
		in->data = NULL; /* nobody would know that it waits */
		in->size = 0;
		return EXIT_SUCCESS;
	}
	if (path == NULL)
		return read_all(STDIN_FILENO, "standard input", in);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cli_error("cannot open %s: %m", path);
	return read_all(fd, path, in);
}

static int write_all(int fd, const char *name, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cli_error("cannot write %s: %m", name);
		data += n;
		size -= (size_t)n;
	}
	return EXIT_SUCCESS;
}

static int write_output(const char *path, const char *data, size_t size)
{
	if (path == NULL)
		return write_all(STDOUT_FILENO, "standard output", data, size);
	int fd ADV_CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return cli_error("cannot open %s: %m", path);
	int rc = write_all(fd, path, data, size);
	if (rc == EXIT_SUCCESS && fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		rc = cli_error("cannot write %s: %m", path);
	return rc;
}

/* "MODULE/FUNCTION", "MODULE" with one function, "OWNER/MODULE/FUNCTION". */
static int split(const char *text, char *module, char *function, size_t size)
{
	const char *slash = strrchr(text, '/');
	size_t digits = strspn(text, "0123456789");
	bool owner_only = slash != NULL && digits > 0 && text + digits == slash;
	if (slash == NULL || owner_only)
		slash = text + strlen(text);
	if ((size_t)(slash - text) >= size || strlen(slash) >= size)
		return cli_error("invoke: \"%.80s\" is too long for MODULE/FUNCTION", text);
	memcpy(module, text, (size_t)(slash - text));
	module[slash - text] = '\0';
	snprintf(function, size, "%s", *slash == '/' ? slash + 1 : "");
	return EXIT_SUCCESS;
}

static int find(struct adv_lease *lease, const char *module, const char *name, uint32_t *function)
{
	struct adv_lease_info info = {.size = sizeof(info)};
	if (name[0] != '\0') {
		if (adv_function_find(lease, name, function) == ADV_OK)
			return EXIT_SUCCESS;
		return cli_error("%s", adv_error());
	}
	if (adv_lease_info(lease, &info) != ADV_OK)
		return cli_error("%s", adv_error());
	if (info.nr_functions != 1)
		return cli_error("module \"%s\" has %u functions: name one, as in %s/%s (see "
				 "adverb describe)",
				 module, info.nr_functions, module,
				 info.nr_functions > 0 ? adv_function_name(lease, 0) : "FUNCTION");
	*function = 0;
	return EXIT_SUCCESS;
}

/* What the user sees of a call that did not end well. */
static int explain(const char *what, enum adv_status status, uint32_t detail, const char *out,
		   uint32_t size)
{
	if (status == ADV_FUNCTION_FAILED && size > 0)
		return cli_error("%s: %.*s", what, (int)size, out);
	if (status == ADV_CRASHED && detail != 0)
		return cli_error("%s: the function crashed: %s", what, strsignal((int)detail));
	if (status == ADV_EXITED)
		return cli_error("%s: the function ended its process with exit status %u", what,
				 detail);
	return cli_error("%s: %s", what, adv_status_text(status));
}

struct call {
	const char *what;
	const char *out_path;
	bool json;
	struct bytes in;
	char *out;
	uint32_t out_capacity;
	uint64_t timeout_us;
};

static int print_call(const struct call *c, const struct adv_completion *done)
{
	return cli_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "call", c->what, "status",
					adv_status_name(done->status), "out", c->out_path,
					"in_size", (json_int_t)c->in.size, "out_size",
					(json_int_t)done->out_size, "execution_ns",
					(json_int_t)done->execution_ns));
}

static int run(struct adv_lease *lease, uint32_t function, struct call *c)
{
	struct adv_completion done;
	struct adv_request request = {.size = sizeof(request),
				      .function = function,
				      .worker = ADV_ANY_WORKER,
				      .flags = ADV_REQUEST_TIMED,
				      .in = c->in.data,
				      .in_size = (uint32_t)c->in.size,
				      .out = c->out,
				      .out_capacity = c->out_capacity,
				      .timeout_us = c->timeout_us};
	if (adv_submit(lease, &request, NULL) != ADV_OK)
		return cli_error("%s: %s", c->what, adv_error());
	if (adv_wait(lease, &done, 1, c->timeout_us + ADV_SEC / ADV_US) != 1)
		return cli_error("%s: no answer came", c->what);
	if (done.status != ADV_OK)
		return explain(c->what, (enum adv_status)done.status, done.detail, c->out,
			       done.out_size);
	int rc = write_output(c->out_path, c->out, done.out_size);
	return rc == EXIT_SUCCESS && c->json ? print_call(c, &done) : rc;
}

static int lease_and_run(const struct cli_common *common, const char *module, const char *name,
			 struct call *c)
{
	struct adv_lease_options options;
	struct adv_node *node;
	struct adv_lease *lease;
	uint32_t function;
	if (cli_connect(common, &node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	adv_lease_options_init(&options);
	options.slots = 1;
	options.in_capacity = c->in.size > 0 ? (uint32_t)c->in.size : 1;
	options.out_capacity = c->out_capacity;
	enum adv_status status = adv_lease_open(node, module, &options, &lease);
	adv_disconnect(node);
	if (status != ADV_OK)
		return cli_error("%s", adv_error());
	int rc = find(lease, module, name, &function);
	if (rc == EXIT_SUCCESS)
		rc = run(lease, function, c);
	adv_lease_close(lease);
	return rc;
}

int cli_invoke(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const char *in = NULL;
	uint64_t timeout_ns = 10 * ADV_SEC, out_capacity = 0;
	char module[512], function[512];
	struct call c = {0};
	const struct cli_option options[] = {
		{"in", "FILE", CLI_TEXT, &in, "the input; default standard input"},
		{"out", "FILE", CLI_TEXT, &c.out_path,
		 "where the output goes; default standard output"},
		{"timeout", "DURATION", CLI_DURATION, &timeout_ns,
		 "give up after this; default 10s"},
		{"out-capacity", "SIZE", CLI_SIZE, &out_capacity,
		 "room for the output; default 16 MiB, or the input's size"},
		{0},
	};
	int n = cli_parse(argc, argv, self, options, &common, 1, 1);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (split(argv[0], module, function, sizeof(module)) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (out_capacity > ADV_CAPACITY_MAX)
		return cli_error("invoke: --out-capacity must be at most %llu MiB",
				 (unsigned long long)(ADV_CAPACITY_MAX / ADV_MIB));
	if (common.json && c.out_path == NULL)
		return cli_error("invoke: --json needs --out FILE: the output itself goes to "
				 "standard output");
	signal(SIGPIPE, SIG_IGN);
	c.what = argv[0];
	c.json = common.json;
	c.timeout_us = timeout_ns / ADV_US > 0 ? timeout_ns / ADV_US : 1;
	int rc = read_input(in, &c.in);
	if (rc == EXIT_SUCCESS) {
		uint64_t room = out_capacity != 0 ? out_capacity : 16 * ADV_MIB;
		if (out_capacity == 0 && c.in.size > room)
			room = c.in.size;
		c.out_capacity = (uint32_t)room;
		c.out = malloc(room);
		rc = c.out != NULL ? lease_and_run(&common, module, function, &c)
				   : cli_error("no memory for the output");
	}
	free(c.in.data);
	free(c.out);
	return rc;
}

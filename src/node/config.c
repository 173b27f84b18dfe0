/* config.c - the configuration of `adverb serve`. Start-up only, one thread. */
#include "node/config.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/limits.h"
#include "util/parse.h"

enum kind {
	KIND_PATH,   /* absolute; made so from the working directory */
	KIND_LISTEN, /* unix:PATH */
	KIND_TEXT,
	KIND_COUNT,	/* uint32_t, min to max */
	KIND_SIZE,	/* uint64_t, bytes */
	KIND_DURATION,	/* uint64_t, nanoseconds */
	KIND_SUBSCRIBE, /* auto or no */
	KIND_LEVEL,	/* error, warning, info, debug */
	KIND_PLACEMENT, /* auto, memory, immediate */
	KIND_FLAG,	/* yes or no in the file; the option alone means yes */
};

struct key {
	const char *section, *name; /* in the file */
	const char *option;	    /* on the command line */
	const char *argument;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *help;
};

#define KEY(section, name, option, argument, kind, field, min, max, help)                       \
	{                                                                                       \
		section, name, option, argument, kind, offsetof(struct adv_config, field), min, \
			max, help                                                               \
	}

static const struct key keys[] = {
	KEY("node", "state", "state", "DIR", KIND_PATH, state_dir, 0, 0,
	    "where modules, registry and ledger are kept"),
	KEY("node", "listen", "listen", "unix:PATH", KIND_LISTEN, listen_path, 0, 0,
	    "the control socket"),
	KEY("node", "control", "control", "ADDRESS:PORT", KIND_TEXT, control, 0, 0,
	    "the control API over TCP, for tenants with tokens; default: with --verbs, at its "
	    "address"),
	KEY("node", "insecure_control", "insecure-control", "", KIND_FLAG, insecure_control, 0, 0,
	    "allow that beyond this machine: tokens travel in clear"),
	KEY("pool", "cold", "pool-cold", "N", KIND_COUNT, pool_cold, 0, ADV_SANDBOXES_MAX,
	    "sandboxes kept ready with nothing loaded"),
	KEY("pool", "hot", "pool-hot", "N", KIND_COUNT, pool_hot, 0, 64,
	    "sandboxes kept ready with each module used of late"),
	KEY("pool", "hot_modules", "pool-hot-modules", "N", KIND_COUNT, pool_hot_modules, 1,
	    ADV_POOL_HOT_MODULES_MAX, "how many modules count as used of late"),
	KEY("pool", "memory", "pool-memory", "SIZE", KIND_SIZE, pool_memory_bytes, 0, UINT64_MAX,
	    "memory for sandboxes that wait (0: no limit)"),
	KEY("pool", "max_sandboxes", "max-sandboxes", "N", KIND_COUNT, max_sandboxes, 1,
	    ADV_SANDBOXES_MAX, "sandboxes at most, leased ones included"),
	KEY("cores", "workers", "worker-cpus", "LIST", KIND_TEXT, worker_cpus, 0, 0,
	    "CPUs for workers, like 2-63,66; default: those isolated at boot, else those of "
	    "nohz_full, else all but the first core"),
	KEY("cores", "oversubscribe", "oversubscribe", "no|busy|turns", KIND_SUBSCRIBE,
	    oversubscribe, 0, 0,
	    "more workers than cores: refused (the default); one call at a time on a core, BUSY "
	    "for the others; or calls take turns"),
	KEY("cores", "pollers", "poller-cpus", "LIST", KIND_TEXT, poller_cpus, 0, 0,
	    "CPUs for pollers of the verbs fabric; default: some of their own where there are "
	    "many"),
	KEY("verbs", "listen", "verbs", "DEVICE|ADDRESS", KIND_TEXT, verbs, 0, 0,
	    "serve remote clients by RDMA: DEVICE[:PORT] or ADDRESS[:PORT]"),
	KEY("verbs", "pollers", "pollers", "N", KIND_COUNT, nr_pollers, 1, ADV_POLLERS_MAX,
	    "threads that move verbs traffic"),
	KEY("verbs", "peer_timeout", "peer-timeout", "DURATION", KIND_DURATION, peer_timeout_ns,
	    500 * ADV_MS, 60 * ADV_SEC, "a remote client that is silent for so long is gone"),
	KEY("verbs", "placement", "placement", "auto|memory|immediate", KIND_PLACEMENT, placement,
	    0, 0,
	    "how calls are seen: in memory (the device must place in order), or by completions"),
	KEY("leases", "max", "max-leases", "N", KIND_COUNT, max_leases, 1, ADV_LEASES_MAX,
	    "leases at a time"),
	KEY("leases", "memory", "memory", "SIZE", KIND_SIZE, memory_bytes, ADV_LEASE_MEMORY_MIN,
	    UINT64_MAX, "memory that all leases together may reserve"),
	KEY("leases", "stop_grace", "stop-grace", "DURATION", KIND_DURATION, stop_grace_ns, 0,
	    60 * ADV_SEC, "time for calls in flight when the node is stopped"),
	KEY("leases", "bill_days", "bill-days", "DAYS", KIND_COUNT, bill_days, 1, 36500,
	    "how long the bill of a lease is kept"),
	KEY("accounting", "listen", "accounting-listen", "ADDRESS:PORT", KIND_TEXT,
	    accounting_listen, 0, 0, "collect by RDMA what other nodes' tenants have used"),
	KEY("accounting", "report", "accounting-report", "ADDRESS:PORT", KIND_TEXT,
	    accounting_report, 0, 0, "tell that to this accounting node"),
	KEY("accounting", "key", "accounting-key", "FILE", KIND_TEXT, accounting_key, 0, 0,
	    "the secret that all these nodes share, for its owner's eyes alone"),
	KEY("accounting", "by", "accounting-by", "write|add", KIND_TEXT, accounting_by, 0, 0,
	    "absolute totals by WRITE (the default); or FETCH_AND_ADD, at most once"),
	KEY("log", "level", "log-level", "LEVEL", KIND_LEVEL, log_level, 0, 0,
	    "error, warning, info or debug"),
};

#define NR_KEYS (sizeof(keys) / sizeof(keys[0]))

static_assert(NR_KEYS <= ADV_CONFIG_KEYS, "a source for each key");

static const struct {
	const char *name;
	enum adv_log_level level;
} levels[] = {{"error", ADV_LOG_ERROR},
	      {"warning", ADV_LOG_WARNING},
	      {"info", ADV_LOG_INFO},
	      {"debug", ADV_LOG_DEBUG}};

/* ---- values ---- */

static int bad(const char *where, const char *value, const char *wants, char *reason, size_t size)
{
	snprintf(reason, size, "%s: \"%.200s\" must be %s", where, value, wants);
	return -EINVAL;
}

static int set_path(char *to, const char *value, const char *where, char *reason, size_t size)
{
	char directory[ADV_CONFIG_PATH_MAX];
	int n;
	if (value[0] == '/')
		n = snprintf(to, ADV_CONFIG_PATH_MAX, "%s", value);
	else if (value[0] == '\0' || getcwd(directory, sizeof(directory)) == NULL)
		return bad(where, value, "a path", reason, size);
	else
		n = snprintf(to, ADV_CONFIG_PATH_MAX, "%s/%s", directory, value);
	return n < ADV_CONFIG_PATH_MAX ? 0 : bad(where, value, "a shorter path", reason, size);
}

static int set_count(uint32_t *to, const struct key *k, const char *value, const char *where,
		     char *reason, size_t size)
{
	uint64_t n;
	char wants[64];
	if (adv_parse_u64(value, &n) == 0 && n >= k->min && n <= k->max) {
		*to = (uint32_t)n;
		return 0;
	}
	snprintf(wants, sizeof(wants), "a number from %llu to %llu", (unsigned long long)k->min,
		 (unsigned long long)k->max);
	return bad(where, value, wants, reason, size);
}

static int set_level(enum adv_log_level *to, const char *value, const char *where, char *reason,
		     size_t size)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, value) == 0) {
			*to = levels[i].level;
			return 0;
		}
	return bad(where, value, "error, warning, info or debug", reason, size);
}

static const char *const placements[] = {[ADV_PLACEMENT_AUTO] = "auto",
					 [ADV_PLACEMENT_MEMORY] = "memory",
					 [ADV_PLACEMENT_IMMEDIATE] = "immediate"};

static int set_placement(enum adv_placement *to, const char *value, const char *where, char *reason,
			 size_t size)
{
	for (size_t i = 0; i < sizeof(placements) / sizeof(placements[0]); i++)
		if (strcmp(placements[i], value) == 0) {
			*to = (enum adv_placement)i;
			return 0;
		}
	return bad(where, value, "auto, memory or immediate", reason, size);
}

static int set(struct adv_config *c, const struct key *k, const char *value, const char *where,
	       char *reason, size_t size)
{
	void *to = (char *)c + k->offset;
	uint64_t n;
	switch (k->kind) {
	case KIND_PATH:
		return set_path(to, value, where, reason, size);
	case KIND_LISTEN:
		if (strncmp(value, "unix:", 5) != 0)
			return bad(where, value, "unix:PATH", reason, size);
		return set_path(to, value + 5, where, reason, size);
	case KIND_TEXT:
		if (snprintf(to, ADV_CONFIG_PATH_MAX, "%s", value) >= ADV_CONFIG_PATH_MAX)
			return bad(where, value, "shorter", reason, size);
		return 0;
	case KIND_COUNT:
		return set_count(to, k, value, where, reason, size);
	case KIND_SIZE:
		if (adv_parse_size(value, &n) < 0 || n < k->min)
			return bad(where, value, "a size of at least 16MiB, like 8GiB", reason,
				   size);
		*(uint64_t *)to = n;
		return 0;
	case KIND_DURATION:
		if (adv_parse_duration(value, &n) < 0 || n < k->min || n > k->max)
			return bad(where, value,
				   k->min > 0 ? "a duration of 500ms to a minute, like 3s"
					      : "a duration of at most a minute, like 500ms",
				   reason, size);
		*(uint64_t *)to = n;
		return 0;
	case KIND_SUBSCRIBE:
		if (adv_oversubscribe_parse(value, to) < 0)
			return bad(where, value, "no, busy or turns", reason, size);
		return 0;
	case KIND_LEVEL:
		return set_level(to, value, where, reason, size);
	case KIND_PLACEMENT:
		return set_placement(to, value, where, reason, size);
	case KIND_FLAG:
		*(bool *)to = strcmp(value, "yes") == 0;
		return *(bool *)to || strcmp(value, "no") == 0
			       ? 0
			       : bad(where, value, "yes or no", reason, size);
	}
	return -EINVAL;
}

/* ---- defaults ---- */

/* Most of what is free now: the node, its clients and the page cache live from the rest. */
static uint64_t default_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib = 0;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (f != NULL)
		fclose(f);
	uint64_t bytes = kib * ADV_KIB / 5 * 4;
	return bytes > ADV_LEASE_MEMORY_MIN ? bytes : ADV_LEASE_MEMORY_MIN;
}

static void in_directory(char *to, const char *first, const char *home_below, const char *rest)
{
	const char *home = getenv("HOME");
	to[0] = '\0';
	if (first != NULL && first[0] == '/')
		snprintf(to, ADV_CONFIG_PATH_MAX, "%s/%s", first, rest);
	else if (home_below != NULL && home != NULL && home[0] == '/')
		snprintf(to, ADV_CONFIG_PATH_MAX, "%s/%s/%s", home, home_below, rest);
}

static void set_defaults(struct adv_config *c)
{
	memset(c, 0, sizeof(*c));
	c->pool_cold = ADV_POOL_COLD_DEFAULT;
	c->pool_hot = ADV_POOL_HOT_DEFAULT;
	c->pool_hot_modules = ADV_POOL_HOT_MODULES_MAX;
	c->pool_memory_bytes = ADV_POOL_MEMORY_DEFAULT;
	c->max_sandboxes = 1024;
	c->bill_days = 400;
	snprintf(c->accounting_by, sizeof(c->accounting_by), "write");
	c->oversubscribe = ADV_OVERSUBSCRIBE_NO;
	c->nr_pollers = 1;
	c->peer_timeout_ns = ADV_PEER_TIMEOUT_MS_DEFAULT * ADV_MS;
	c->max_leases = ADV_LEASES_MAX;
	c->memory_bytes = default_memory();
	c->stop_grace_ns = ADV_STOP_GRACE_MS_DEFAULT * ADV_MS;
	c->log_level = ADV_LOG_INFO;
	if (geteuid() == 0) {
		in_directory(c->state_dir, "/var/lib", NULL, "adverb");
		in_directory(c->listen_path, "/run", NULL, "adverb/adverb.sock");
		in_directory(c->config_file, "/etc", NULL, "adverb/adverb.conf");
		return;
	}
	in_directory(c->state_dir, getenv("XDG_STATE_HOME"), ".local/state", "adverb");
	in_directory(c->listen_path, getenv("XDG_RUNTIME_DIR"), NULL, "adverb/adverb.sock");
	in_directory(c->config_file, getenv("XDG_CONFIG_HOME"), ".config", "adverb/adverb.conf");
}

/* ---- the file ---- */

struct reading {
	FILE *file;
	struct adv_config *config;
	char *reason;
	size_t size;
	int line;
	int error;
};

/* inih's reader: counts lines, which the library's build may not tell. */
static char *read_line(char *text, int size, void *user)
{
	struct reading *r = user;
	r->line++;
	return fgets(text, size, r->file);
}

/* Of a line that another module has read: 1, or 0 with its reason. */
static int taken(struct reading *r, int rc, const char *what)
{
	r->error = rc;
	if (rc < 0)
		snprintf(r->reason, r->size, "%s:%d: %s", r->config->config_file, r->line, what);
	return rc == 0;
}

static int tenant_value(struct reading *r, const char *tenant, const char *name, const char *value)
{
	char what[ADV_REASON_MAX];
	int rc = adv_tenants_set(&r->config->tenants, tenant, name, value, what, sizeof(what));
	return taken(r, rc, what);
}

static int limit_value(struct reading *r, const char *name, const char *value)
{
	char what[ADV_REASON_MAX];
	int rc = adv_tenants_limit(&r->config->tenants, name, value, what, sizeof(what));
	return taken(r, rc, what);
}

static int price_value(struct reading *r, const char *name, const char *value)
{
	struct adv_prices *p = &r->config->prices;
	const struct {
		const char *name;
		uint64_t *to;
	} prices[] = {{"core_hour", &p->core_hour},	    {"gib_hour", &p->gib_hour},
		      {"executed_hour", &p->executed_hour}, {"polled_hour", &p->polled_hour},
		      {"million_calls", &p->million_calls}, {"gib", &p->gib}};
	if (strcmp(name, "currency") == 0 && value[0] != '\0' &&
	    strlen(value) < sizeof(p->currency)) {
		snprintf(p->currency, sizeof(p->currency), "%s", value);
		return 1;
	}
	for (size_t i = 0; i < sizeof(prices) / sizeof(prices[0]); i++)
		if (strcmp(name, prices[i].name) == 0 &&
		    adv_parse_millionths(value, prices[i].to) == 0)
			return 1;
	snprintf(
		r->reason, r->size,
		"%s:%d: [prices] %.40s = %.40s: it has currency (a word of at most 15 letters) and "
		"core_hour, gib_hour, executed_hour, polled_hour, million_calls and gib, numbers "
		"like "
		"0.0125",
		r->config->config_file, r->line, name, value);
	r->error = -EINVAL;
	return 0;
}

static int file_value(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;
	char where[ADV_CONFIG_PATH_MAX + 64];
	if (r->error < 0) /* the parser goes on; the first error is the one that is told */
		return 0;
	/* The warden's own: it reads the file itself. */
	if (strcmp(section, "sandbox") == 0)
		return 1;
	if (strncmp(section, "tenant ", strlen("tenant ")) == 0)
		return tenant_value(r, section + strlen("tenant "), name, value);
	if (strcmp(section, "prices") == 0)
		return price_value(r, name, value);
	if (strcmp(section, "limits") == 0)
		return limit_value(r, name, value);
	snprintf(where, sizeof(where), "%s:%d: %.40s", r->config->config_file, r->line, name);
	for (size_t i = 0; i < NR_KEYS; i++) {
		if (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
			continue;
		r->error = set(r->config, &keys[i], value, where, r->reason, r->size);
		r->config->source[i] = ADV_CONFIG_FILE;
		return r->error == 0;
	}
	snprintf(r->reason, r->size, "%s: section [%.40s] has no such key", where, section);
	r->error = -EINVAL;
	return 0;
}

static int read_file(struct adv_config *c, bool must_exist, char *reason, size_t size)
{
	struct reading r = {.config = c, .reason = reason, .size = size};
	if (c->config_file[0] == '\0')
		return 0;
	if (!must_exist && access(c->config_file, F_OK) < 0 && errno == ENOENT) {
		c->config_file[0] = '\0';
		return 0;
	}
	r.file = fopen(c->config_file, "re");
	if (r.file == NULL) {
		snprintf(reason, size, "cannot read the configuration %s: %s", c->config_file,
			 strerror(errno));
		return -errno;
	}
	int rc = ini_parse_stream(read_line, &r, file_value, &r);
	fclose(r.file);
	if (rc > 0 && r.error == 0) {
		snprintf(reason, size, "%s:%d: neither a [section] nor a key = value",
			 c->config_file, rc);
		return -EINVAL;
	}
	return r.error;
}

/* ---- the command line ---- */

void adv_config_help(FILE *out)
{
	fputs("Usage: adverb serve [OPTION]...\n\n"
	      "Runs a node: leases sandboxes to local clients until SIGTERM.\n\n",
	      out);
	for (size_t i = 0; i < NR_KEYS; i++) {
		char option[64];
		snprintf(option, sizeof(option), "--%s%s%s", keys[i].option,
			 keys[i].argument[0] != '\0' ? " " : "", keys[i].argument);
		fprintf(out, "  %-35s %s\n", option, keys[i].help);
	}
	fprintf(out, "  %-35s %s\n", "--config FILE", "read this configuration file");
	fprintf(out, "  %-35s %s\n", "--help", "show this");
	fputs("\nSizes are like 64KiB or 8GiB, durations like 500ms or 10s.\n", out);
}

/* Options are collected first: --config may stand behind one that overrides it. */
static int read_options(int argc, char **argv, struct adv_config *c, const char *given[NR_KEYS],
			bool *has_file, char *reason, size_t size)
{
	struct option options[NR_KEYS + 3] = {{0}};
	for (size_t i = 0; i < NR_KEYS; i++)
		options[i] = (struct option){
			keys[i].option, keys[i].kind == KIND_FLAG ? no_argument : required_argument,
			NULL, 256 + (int)i};
	options[NR_KEYS] = (struct option){"config", required_argument, NULL, 'c'};
	options[NR_KEYS + 1] = (struct option){"help", no_argument, NULL, 'h'};
	optind = 1;
	opterr = 0;
	int o;
	while ((o = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (o == 'h') {
			adv_config_help(stdout);
			return 1;
		}
		if (o == '?' || o == ':') {
			snprintf(reason, size, "serve: option %.80s %s: see adverb serve --help",
				 argv[optind - 1], o == ':' ? "needs a value" : "is unknown");
			return -EINVAL;
		}
		if (o == 'c') {
			*has_file = true;
			int rc = set_path(c->config_file, optarg, "--config", reason, size);
			if (rc < 0)
				return rc;
			continue;
		}
		given[o - 256] = optarg != NULL ? optarg : "yes";
	}
	if (optind == argc)
		return 0;
	snprintf(reason, size, "serve takes no argument \"%.80s\": see adverb serve --help",
		 argv[optind]);
	return -EINVAL;
}

static int check(const struct adv_config *c, char *reason, size_t size)
{
	if (c->listen_path[0] == '\0')
		snprintf(reason, size,
			 "XDG_RUNTIME_DIR is not set, so there is no place for the control socket: "
			 "name one "
			 "with --listen unix:PATH");
	else if (c->state_dir[0] == '\0')
		snprintf(reason, size,
			 "HOME is not set, so there is no place for the state: name one with "
			 "--state DIR");
	else if (c->pool_cold > c->max_sandboxes)
		snprintf(reason, size,
			 "the pool's cold sandboxes (%u) are more than max_sandboxes (%u)",
			 c->pool_cold, c->max_sandboxes);
	else if (strcmp(c->accounting_by, "write") != 0 && strcmp(c->accounting_by, "add") != 0)
		snprintf(reason, size, "[accounting] by is \"%.40s\": it must be write or add",
			 c->accounting_by);
	else if ((c->accounting_listen[0] != '\0' || c->accounting_report[0] != '\0') &&
		 c->accounting_key[0] == '\0')
		snprintf(reason, size,
			 "[accounting] needs a key: a file of 32 bytes or more, the same on all "
			 "nodes");
	else if (c->control[0] == '\0' && c->verbs[0] == '\0' && c->insecure_control)
		snprintf(reason, size, "--insecure-control is for --control or --verbs");
	else
		return 0;
	return -EINVAL;
}

int adv_config_parse(int argc, char **argv, struct adv_config *c, char *reason, size_t size)
{
	const char *given[NR_KEYS] = {NULL};
	bool has_file = false;
	set_defaults(c);
	int rc = read_options(argc, argv, c, given, &has_file, reason, size);
	if (rc != 0)
		return rc;
	rc = read_file(c, has_file, reason, size);
	for (size_t i = 0; i < NR_KEYS && rc == 0; i++) {
		char where[64];
		if (given[i] == NULL)
			continue;
		snprintf(where, sizeof(where), "--%s", keys[i].option);
		rc = set(c, &keys[i], given[i], where, reason, size);
		c->source[i] = ADV_CONFIG_OPTION;
	}
	if (rc == 0)
		rc = adv_tenants_check(&c->tenants, reason, size);
	return rc < 0 ? rc : check(c, reason, size);
}

/* ---- the banner ---- */

static void print_value(const struct adv_config *c, const struct key *k, char *out, size_t size)
{
	const void *at = (const char *)c + k->offset;
	switch (k->kind) {
	case KIND_PATH:
	case KIND_TEXT:
		snprintf(out, size, "%s",
			 ((const char *)at)[0] != '\0'	    ? (const char *)at
			 : strcmp(k->section, "cores") == 0 ? "(chosen by topology)"
							    : "(none)");
		break;
	case KIND_LISTEN:
		snprintf(out, size, "unix:%s", (const char *)at);
		break;
	case KIND_COUNT:
		snprintf(out, size, "%u", *(const uint32_t *)at);
		break;
	case KIND_SIZE:
		adv_format_size(*(const uint64_t *)at, out, size);
		break;
	case KIND_DURATION:
		adv_format_duration(*(const uint64_t *)at, out, size);
		break;
	case KIND_SUBSCRIBE:
		snprintf(out, size, "%s",
			 adv_oversubscribe_name(*(const enum adv_oversubscribe *)at));
		break;
	case KIND_LEVEL:
		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
			if (levels[i].level == *(const enum adv_log_level *)at)
				snprintf(out, size, "%s", levels[i].name);
		break;
	case KIND_FLAG:
		snprintf(out, size, "%s", *(const bool *)at ? "yes" : "no");
		break;
	case KIND_PLACEMENT:
		snprintf(out, size, "%s", placements[*(const enum adv_placement *)at]);
		break;
	}
}

void adv_config_print(const struct adv_config *c, FILE *out)
{
	static const char *const sources[] = {"default", "file", "option"};
	char value[ADV_CONFIG_PATH_MAX + 8], key[64];
	for (size_t i = 0; i < NR_KEYS; i++) {
		value[0] = '\0';
		print_value(c, &keys[i], value, sizeof(value));
		snprintf(key, sizeof(key), "[%s] %s", keys[i].section, keys[i].name);
		fprintf(out, "adverb: %-24s %s  (%s)\n", key, value, sources[c->source[i]]);
	}
	if (c->config_file[0] != '\0')
		fprintf(out, "adverb: %-24s %s\n", "configuration", c->config_file);
	fflush(out);
}

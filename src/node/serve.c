/*
 * serve.c - `adverb serve`: the life of a node, from its first process to its last. Main thread.
 *
 * The order is the security: the warden is started while this process has one thread, no secret and no tenant's byte;
 * directories and socket are made with the privileges that are then dropped; only after that is anything read or parsed.
 */
#include "node/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "control/control.h"
#if ADV_HAVE_VERBS
#include "accounts/account.h"
#include "fabric/device.h"
#endif
#include "node/config.h"
#include "node/listen.h"
#include "node/notify.h"
#include "util/fd.h"
#include "util/log.h"

struct node {
	struct adv_config config;
	struct adv_warden warden;
	bool warden_started;
	int listen_fd;
	int signal_fd;
	struct adv_watch signals;
	struct adv_registry *registry;
	struct adv_control *control;
	struct sockaddr_storage verbs;
	int remote_fd;
	struct adv_accounting_options accounting;
};

/* ---- the steps of the start ---- */

static int start_limits(struct node *n, char *reason, size_t size)
{
	struct rlimit files, locked;
	(void)reason;
	(void)size;
	/* Two descriptors a sandbox, six a lease and its connection. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* What a device reads and writes is locked: as much as the machine allows. */
	if (n->config.verbs[0] != '\0' && getrlimit(RLIMIT_MEMLOCK, &locked) == 0) {
		locked.rlim_cur = locked.rlim_max =
			geteuid() == 0 ? RLIM_INFINITY : locked.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &locked);
	}
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static int start_warden(struct node *n, char *reason, size_t size)
{
	const struct adv_warden_options options = {
		.config_file = n->config.config_file[0] != '\0' ? n->config.config_file : NULL};
	int rc = adv_warden_start(&options, &n->warden, reason, size);
	n->warden_started = rc == 0;
	return rc;
}

static int start_directories(struct node *n, char *reason, size_t size)
{
	const struct adv_warden_facts *facts = &n->warden.facts;
	return adv_directory_make(n->config.state_dir, 0700, facts->node_uid, facts->node_gid,
				  reason, size);
}

/* As root every local user may ask for a lease (the peer's uid is the tenant); in a session only its user may. */
static int start_socket(struct node *n, char *reason, size_t size)
{
	const struct adv_warden_facts *facts = &n->warden.facts;
	char parent[sizeof(n->config.listen_path)];
	snprintf(parent, sizeof(parent), "%s", n->config.listen_path);
	char *slash = strrchr(parent, '/');
	if (slash != NULL && slash != parent && access(parent, F_OK) < 0) {
		*slash = '\0';
		if (access(parent, F_OK) < 0) {
			int rc = adv_directory_make(parent, facts->root ? 0755 : 0700,
						    facts->node_uid, facts->node_gid, reason, size);
			if (rc < 0)
				return rc;
		}
	}
	int fd = adv_listen_unix(n->config.listen_path, facts->root ? 0666 : 0600, facts->node_uid,
				 facts->node_gid, reason, size);
	if (fd < 0)
		return fd;
	n->listen_fd = fd;
	return 0;
}

/* Where remote clients are to be served; before anything is promised to anyone. */
static int start_verbs(struct node *n, char *reason, size_t size)
{
	if (n->config.verbs[0] == '\0')
		return 0;
#if ADV_HAVE_VERBS
	return adv_device_resolve(n->config.verbs, ADV_VERBS_PORT_DEFAULT, &n->verbs, reason, size);
#else
	snprintf(reason, size, "this adverb was built without libibverbs and librdmacm");
	return -ENOTSUP;
#endif
}

/* The control API over TCP: where it was asked for, or where RDMA is served. */
static int start_remote_socket(struct node *n, char *reason, size_t size)
{
	struct sockaddr_storage address = n->verbs;
	int rc = 0;
	if (n->config.control[0] != '\0')
		rc = adv_listen_parse(n->config.control, &address, reason, size);
	else if (n->config.verbs[0] == '\0')
		return 0;
	if (rc == 0)
		rc = n->remote_fd =
			adv_listen_tcp(&address, n->config.insecure_control, reason, size);
	return rc < 0 ? rc : 0;
}

/* Who collects what nodes' tenants have used, and by which secret: read while its file can be. */
static int start_accounting(struct node *n, char *reason, size_t size)
{
	struct adv_accounting_options *o = &n->accounting;
	const struct adv_config *c = &n->config;
	int rc = 0;
	o->collects = c->accounting_listen[0] != '\0';
	o->reports = c->accounting_report[0] != '\0';
	o->adds = strcmp(c->accounting_by, "add") == 0;
	if (o->collects)
		rc = adv_listen_parse(c->accounting_listen, &o->listen, reason, size);
	if (rc == 0 && o->reports)
		rc = adv_listen_parse(c->accounting_report, &o->report, reason, size);
#if ADV_HAVE_VERBS
	if (rc == 0 && (o->collects || o->reports))
		rc = adv_account_key_read(c->accounting_key, o->key, reason, size);
#endif
	return rc;
}

static int start_privileges(struct node *n, char *reason, size_t size)
{
	int rc = adv_privileges_drop(&n->warden.facts);
	if (rc < 0)
		snprintf(reason, size, "cannot become uid %u: %s", n->warden.facts.node_uid,
			 strerror(-rc));
	return rc;
}

/* Before the registry's thread: a blocked signal is blocked in every thread. */
static int start_signals(struct node *n, char *reason, size_t size)
{
	sigset_t set;
	(void)reason;
	(void)size;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	n->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return n->signal_fd < 0 ? -errno : 0;
}

static int start_registry(struct node *n, char *reason, size_t size)
{
	return adv_registry_open(n->config.state_dir, &n->registry, reason, size);
}

static void signalled(struct adv_watch *watch)
{
	struct node *n = watch->user;
	struct signalfd_siginfo info;
	while (read(n->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			adv_log_warning("SIGHUP is ignored: restart the node to read its "
					"configuration again");
			continue;
		}
		adv_log_info("%s: revoking leases, then ending", strsignal((int)info.ssi_signo));
		adv_notify("STOPPING=1");
		adv_control_stop(n->control);
	}
}

/* As adv_cores_options wants it. */
static int near_device(const struct node *n)
{
#if ADV_HAVE_VERBS
	if (n->config.verbs[0] != '\0')
		return adv_device_numa_node(&n->verbs) + 1;
#else
	(void)n;
#endif
	return 0;
}

static int start_control(struct node *n, char *reason, size_t size)
{
	const struct adv_config *config = &n->config;
	const struct adv_control_options options = {
		.listen_fd = n->listen_fd,
		.remote_fd = n->remote_fd,
		.tenants = &n->config.tenants,
		.prices = n->config.prices,
		.bill_days = config->bill_days,
		.accounting = n->accounting,
		.peer_timeout_ms = (uint32_t)(config->peer_timeout_ns / ADV_MS),
		.warden = &n->warden,
		.registry = n->registry,
		.state_dir = config->state_dir,
		.worker_cpus = config->worker_cpus[0] != '\0' ? config->worker_cpus : NULL,
		.oversubscribe = config->oversubscribe,
		.max_leases = config->max_leases,
		.memory_bytes = config->memory_bytes,
		.stop_grace_ms = config->stop_grace_ns / ADV_MS,
		.verbs = config->verbs[0] != '\0' ? &n->verbs : NULL,
		.near_numa_node = near_device(n),
		.placement = config->placement,
		.nr_pollers = config->nr_pollers,
		.poller_cpus = config->poller_cpus[0] != '\0' ? config->poller_cpus : NULL,
		.pool = {.cold = config->pool_cold,
			 .hot = config->pool_hot,
			 .hot_modules = config->pool_hot_modules,
			 .memory_bytes = config->pool_memory_bytes,
			 .load_ns = ADV_DEPLOY_LOAD_MS * ADV_MS,
			 .max_sandboxes = config->max_sandboxes,
			 .max_parallel = ADV_POOL_PARALLEL,
			 .retry_ns = 100 * ADV_MS},
	};
	int rc = adv_control_create(&options, &n->control, reason, size);
	if (rc == 0)
		adv_watch_start(&n->signals, n->control->loop, n->signal_fd, signalled, n);
	return rc;
}

static const struct {
	const char *name;
	int (*start)(struct node *n, char *reason, size_t size);
} steps[] = {
	{"limits", start_limits},
	{"warden", start_warden}, /* before any thread, secret or tenant's byte */
	{"state directory", start_directories},
	{"control socket", start_socket},
	{"verbs", start_verbs},
	{"control by TCP", start_remote_socket},
	{"accounting", start_accounting},
	{"privileges", start_privileges},
	{"signals", start_signals},
	{"registry", start_registry}, /* the first thread */
	{"control thread", start_control},
};

static int start(struct node *n)
{
	char reason[1024];
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		reason[0] = '\0';
		int rc = steps[i].start(n, reason, sizeof(reason));
		if (rc == 0)
			continue;
		adv_log_error("cannot start: %s%s%s", steps[i].name, ": ",
			      reason[0] != '\0' ? reason : strerror(-rc));
		return rc;
	}
	return 0;
}

/* ---- the end ---- */

static void stop(struct node *n)
{
	adv_control_destroy(n->control);
	if (n->registry != NULL)
		adv_registry_close(n->registry);
	/* After the drop the directory may not be ours any more: the next start replaces a socket that nobody serves. */
	if (n->listen_fd >= 0)
		unlink(n->config.listen_path);
	adv_fd_close(&n->listen_fd);
	adv_fd_close(&n->remote_fd);
	adv_fd_close(&n->signal_fd);
	if (n->warden_started)
		adv_warden_stop(&n->warden);
}

static void banner(const struct node *n)
{
	const struct adv_warden_facts *facts = &n->warden.facts;
	char cpus[512];
	adv_config_print(&n->config, stderr);
	adv_log_info("sandboxes: %s; memory limits by %s; Landlock %s",
		     facts->root ? "a uid each"
				 : "the user's own uid: for your own code, not for hostile "
				   "tenants",
		     facts->cgroup_memory ? "cgroup v2" : "RLIMIT_DATA",
		     facts->landlock_abi > 0 ? "on" : "missing in this kernel");
	adv_log_info("workers on CPUs %s; serving unix:%s",
		     adv_cores_describe(n->control->cores, cpus, sizeof(cpus)),
		     n->config.listen_path);
}

int adv_cmd_serve(int argc, char **argv)
{
	static struct node node = {.listen_fd = -1, .signal_fd = -1, .remote_fd = -1};
	char reason[1024];
	int rc = adv_config_parse(argc, argv, &node.config, reason, sizeof(reason));
	if (rc == 1)
		return EXIT_SUCCESS;
	adv_log_init("adverb", rc == 0 ? node.config.log_level : ADV_LOG_INFO);
	if (rc < 0) {
		adv_log_error("%s", reason);
		return EXIT_FAILURE;
	}
	rc = start(&node);
	if (rc == 0) {
		banner(&node);
		adv_notify("READY=1\nSTATUS=serving");
		rc = adv_control_run(node.control);
	}
	stop(&node);
	if (rc == 0)
		adv_log_info("ended");
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

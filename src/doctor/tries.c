/*
 * tries.c - checks that try the thing itself, as a node would: the configuration, a ring, a warden and a sandbox, devices, the node.
 * Main thread. What is started here is ended here.
 */
#include <errno.h>
#include <jansson.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adverb/client.h"
#include "doctor/doctor.h"
#include "node/config.h"
#include "sandbox/launch.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/passing.h"
#if ADV_HAVE_VERBS
#include "fabric/device.h"
#endif

#define TRY_MS 10000

/* ---- the configuration ---- */

void adv_try_configuration(struct adv_patient *p, struct adv_finding *f)
{
	static struct adv_config config;
	char reason[1024];
	char *argv[] = {"serve", "--config", (char *)p->config_file, NULL};
	int rc = adv_config_parse(p->config_file != NULL ? 3 : 1, argv, &config, reason,
				  sizeof(reason));
	/* The warden reads it too, by a path that is absolute. */
	if (config.config_file[0] != '\0')
		p->config_file = config.config_file;
	if (rc < 0)
		adv_find(f, ADV_CHECK_BAD, NULL, "%s", reason);
	else if (config.config_file[0] == '\0')
		adv_find(f, ADV_CHECK_OK, NULL, "no file: the defaults");
	else
		adv_find(f, ADV_CHECK_OK, NULL, "%s", config.config_file);
}

/* ---- a ring ---- */

void adv_try_ring(struct adv_patient *p, struct adv_finding *f)
{
	struct io_uring ring;
	(void)p;
	int rc = io_uring_queue_init(8, &ring, 0);
	if (rc < 0) {
		adv_find(f, ADV_CHECK_BAD,
			 "sysctl kernel.io_uring_disabled=0; in a container its seccomp profile "
			 "must "
			 "allow io_uring",
			 "a ring could not be made: %s", strerror(-rc));
		return;
	}
	io_uring_queue_exit(&ring);
	adv_find(f, ADV_CHECK_OK, NULL, "a ring was made");
}

/* ---- a warden, and one sandbox of it ---- */

/* The next record of the warden; its descriptors go to fds. False: none in time. */
static bool hear(int socket, void *record, size_t size, int *fds, unsigned nr)
{
	union adv_passing control;
	struct iovec iov = {.iov_base = record, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct pollfd ready = {.fd = socket, .events = POLLIN};
	if (poll(&ready, 1, TRY_MS) <= 0)
		return false;
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n > 0)
		adv_received_fds(&msg, fds, nr);
	return n == (ssize_t)size;
}

/* False: `why_not` says why. */
static bool confined(struct adv_patient *p, int report)
{
	struct adv_sandbox_report r;
	if (!hear(report, &r, sizeof(r), NULL, 0))
		snprintf(p->why_not, sizeof(p->why_not), "a sandbox said nothing for 10 s");
	else if (r.type == ADV_REPORT_FAILED)
		snprintf(p->why_not, sizeof(p->why_not), "%.*s", (int)sizeof(r.text) - 1, r.text);
	else
		return r.type == ADV_REPORT_CONFINED;
	return false;
}

static bool build(struct adv_patient *p, const struct adv_warden *warden)
{
	const struct adv_warden_request request = {.type = ADV_WARDEN_BUILD, .cpu = -1};
	struct adv_warden_event event = {0};
	int fds[2] = {-1, -1};
	uint64_t begun_ns = adv_clock_monotonic_ns();
	if (adv_send_fds(warden->socket, &request, sizeof(request), NULL, 0, MSG_NOSIGNAL) < 0 ||
	    !hear(warden->socket, &event, sizeof(event), fds, 2)) {
		snprintf(p->why_not, sizeof(p->why_not), "the warden said nothing for 10 s");
		return false;
	}
	ADV_CLEANUP_FD int report = fds[0];
	ADV_CLEANUP_FD int log = fds[1];
	if (event.type != ADV_EVENT_BUILT) {
		snprintf(p->why_not, sizeof(p->why_not), "%.*s", (int)sizeof(event.text) - 1,
			 event.text);
		return false;
	}
	bool ok = confined(p, report);
	p->build_us = (adv_clock_monotonic_ns() - begun_ns) / ADV_US;
	(void)log;
	return ok;
}

static void try_warden(struct adv_patient *p)
{
	const struct adv_warden_options options = {.config_file = p->config_file};
	struct adv_warden warden;
	if (p->tried)
		return;
	p->tried = true;
	if (adv_warden_start(&options, &warden, p->why_not, sizeof(p->why_not)) < 0)
		return;
	p->facts = warden.facts;
	p->has_facts = build(p, &warden);
	adv_warden_stop(&warden);
}

void adv_try_sandbox(struct adv_patient *p, struct adv_finding *f)
{
	try_warden(p);
	if (p->has_facts)
		adv_find(f, ADV_CHECK_OK, NULL, "one was built and confined in %llu us",
			 (unsigned long long)p->build_us);
	else
		adv_find(f, ADV_CHECK_BAD, NULL, "%s", p->why_not);
}

/* ---- walls that depend on the machine ---- */

/* Which of the walls the node says that it does not have. */
static void note_lacks(struct adv_patient *p, const json_t *weaker)
{
	size_t k;
	json_t *entry;
	const struct adv_wall *w;
	p->node_tells = json_is_array(weaker);
	json_array_foreach (weaker, k, entry) {
		const char *name = json_string_value(json_object_get(entry, "wall"));
		for (unsigned i = 0; name != NULL && (w = adv_wall_at(i)) != NULL; i++)
			if (strcmp(name, w->name) == 0)
				p->node_lacks |= 1u << i;
	}
}

/* A running node knows better: what it may use of cgroups is its service's, not this shell's. */
static void ask_node(struct adv_patient *p)
{
	struct adv_node *node;
	struct adv_control_reply reply = {0};
	if (p->asked)
		return;
	p->asked = true;
	if (adv_connect(p->host, &node) != ADV_OK)
		return;
	if (adv_control(node, "GET", "/v1/status", NULL, 0, 0, &reply) == ADV_OK) {
		json_t *status = json_loadb(reply.body, reply.body_size, 0, NULL);
		note_lacks(p, json_object_get(json_object_get(status, "sandbox"), "weaker"));
		json_decref(status);
	}
	adv_control_reply_free(&reply);
	adv_disconnect(node);
}

void adv_try_wall(struct adv_patient *p, struct adv_finding *f, const char *name)
{
	const struct adv_wall *w;
	unsigned i = 0;
	while ((w = adv_wall_at(i)) != NULL && strcmp(w->name, name) != 0)
		i++;
	if (w == NULL) {
		adv_find(f, ADV_CHECK_BAD, NULL, "no wall is called %s: a bug of adverb's", name);
		return;
	}
	ask_node(p);
	if (!p->node_tells)
		try_warden(p);
	if (!p->node_tells && !p->has_facts) {
		adv_find(f, ADV_CHECK_BAD, NULL, "not known, for no sandbox could be built");
		return;
	}
	const char *by = p->node_tells ? " (so the node says that runs here)" : "";
	if (p->node_tells ? (p->node_lacks >> i & 1) == 0 : w->stands(&p->facts))
		adv_find(f, ADV_CHECK_OK, NULL, "%s%s", w->good, by);
	else
		adv_find(f, ADV_CHECK_WEAK, w->remedy, "%s%s", w->weak, by);
}

/* ---- devices ---- */

#if ADV_HAVE_VERBS
void adv_try_devices(struct adv_patient *p, struct adv_finding *f)
{
	char reason[ADV_REASON_MAX], text[ADV_DEVICE_TEXT], why[256] = "";
	struct adv_device_facts *facts;
	(void)p;
	int nr = adv_devices_get(&facts, reason, sizeof(reason));
	if (nr < 0) {
		adv_find(f, ADV_CHECK_OK, NULL, "none, for local clients alone: %.400s", reason);
		return;
	}
	for (int i = 0; i < nr; i++) {
		struct adv_device_choice choice;
		adv_device_choose(&facts[i], ADV_VERBS_PORT_DEFAULT, &choice);
		if (choice.usable) {
			adv_find(f, ADV_CHECK_OK, NULL, "%s: adverb serve --verbs %s listens on %s",
				 adv_device_kind(&facts[i]), facts[i].name,
				 adv_device_address_text(&choice.address, text));
			free(facts);
			return;
		}
		snprintf(why, sizeof(why), "%.60s: %.180s", facts[i].name, choice.reason);
	}
	free(facts);
	adv_find(f, ADV_CHECK_WEAK, "see adverb devices", "%d, none of which can be used: %s", nr,
		 why);
}
#else
void adv_try_devices(struct adv_patient *p, struct adv_finding *f)
{
	(void)p;
	adv_find(f, ADV_CHECK_OK, NULL,
		 "this adverb was built without libibverbs: for local clients alone");
}
#endif

/* ---- the node ---- */

void adv_try_node(struct adv_patient *p, struct adv_finding *f)
{
	struct adv_node *node;
	enum adv_status status = adv_connect(p->host, &node);
	if (status == ADV_OK) {
		adv_disconnect(node);
		adv_find(f, ADV_CHECK_OK, NULL, "one answers");
	} else {
		adv_find(f, p->host != NULL ? ADV_CHECK_BAD : ADV_CHECK_OK, NULL,
			 "none answers: %.450s", adv_error());
	}
}

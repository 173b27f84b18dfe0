/* api_logs.c - GET /v1/modules/NAME/logs: the last lines that a module's functions printed, or the next ones. Control thread only. */
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/parse.h"

/* A request that waits for a line. */
struct adv_log_wait {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_log_wait *next;
	struct adv_control *control;
	uint32_t owner, reader;
	char module[ADV_NAME_MAX];
	uint64_t since;
	struct adv_timer timer;
};

static void append(void *user, const struct adv_log_line *line)
{
	json_array_append_new(user,
			      json_pack("{s:I, s:I, s:i, s:s}", "seq", (json_int_t)line->number,
					"time_ns", (json_int_t)line->time_ns, "sandbox",
					(int)line->sandbox, "text", line->text));
}

/* The answer; NULL when there is nothing to tell and `must` is false. */
static json_t *lines_json(const struct adv_control *c, uint32_t owner, const char *module,
			  uint32_t reader, uint64_t since, bool must)
{
	bool lost;
	json_t *lines = json_array();
	uint64_t next = adv_logs_read(c->logs, owner, module, reader, since, ADV_LOG_ANSWER_MAX,
				      &lost, append, lines);
	if (!must && json_array_size(lines) == 0) {
		json_decref(lines);
		return NULL;
	}
	return json_pack("{s:o, s:I, s:b}", "lines", lines, "next", (json_int_t)next, "lost",
			 (int)lost);
}

/* ---- waiting ---- */

static void end_wait(struct adv_log_wait *w, bool must)
{
	struct adv_control *c = w->control;
	json_t *answer = w->waiting.request == NULL
				 ? NULL
				 : lines_json(c, w->owner, w->module, w->reader, w->since, must);
	if (w->waiting.request != NULL && answer == NULL)
		return; /* another tenant's line */
	struct adv_log_wait **at = &c->log_waits;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	adv_timer_set(&w->timer, UINT64_MAX);
	if (answer != NULL) {
		adv_http_set_user(w->waiting.request, NULL);
		adv_http_respond(w->waiting.request, 200, answer);
	}
	free(w);
}

static void time_is_up(struct adv_timer *timer)
{
	end_wait(timer->user, true);
}

static void wait_for_line(struct adv_control *c, struct adv_http_request *request,
			  const struct adv_module *module, uint64_t since, uint64_t seconds)
{
	struct adv_log_wait *w = calloc(1, sizeof(*w));
	if (w == NULL) {
		adv_http_fail(request, ADV_SYSTEM, "the node is out of memory");
		return;
	}
	w->control = c;
	w->owner = module->owner;
	w->reader = adv_http_uid(request);
	memcpy(w->module, module->name, sizeof(w->module));
	w->since = since;
	w->next = c->log_waits;
	c->log_waits = w;
	adv_timer_init(&w->timer, c->loop, time_is_up, w);
	adv_timer_set(&w->timer, adv_clock_monotonic_ns() + seconds * ADV_SEC);
	adv_waiting_start(&w->waiting, request);
}

void adv_api_logs_end(struct adv_control *c)
{
	while (c->log_waits != NULL) {
		struct adv_log_wait *w = c->log_waits;
		c->log_waits = w->next;
		adv_timer_set(&w->timer, UINT64_MAX);
		free(w);
	}
}

void adv_api_logs_printed(struct adv_control *c, const struct adv_module *module, uint32_t tenant,
			  uint32_t sandbox, const char *text)
{
	const struct adv_log_line line = {.time_ns = adv_clock_realtime_ns(),
					  .tenant = tenant,
					  .sandbox = sandbox,
					  .text = text};
	adv_logs_add(c->logs, module->owner, module->name, &line);
	for (struct adv_log_wait *w = c->log_waits, *next; w != NULL; w = next) {
		next = w->next;
		if (w->waiting.request == NULL ||
		    (w->owner == module->owner && strcmp(w->module, module->name) == 0))
			end_wait(w, false);
	}
}

/* ---- the request ---- */

/* A number in the query, or 0. False: refused already. */
static bool query(struct adv_http_request *request, const char *name, uint64_t max, uint64_t *value)
{
	const char *text = adv_http_query(request, name);
	*value = 0;
	if (text == NULL || (adv_parse_u64(text, value) == 0 && *value <= max))
		return true;
	adv_http_fail(request, ADV_INVALID, "%s=%.32s: must be a number from 0 to %llu", name, text,
		      (unsigned long long)max);
	return false;
}

void adv_api_logs(struct adv_control *c, struct adv_http_request *request, const char *name)
{
	uint64_t since, seconds;
	if (adv_http_method(request) != ADV_HTTP_GET) {
		adv_http_wrong_method(request, "GET");
		return;
	}
	struct adv_module *module = adv_api_module(c, request, name);
	if (module == NULL || !query(request, "since", INT64_MAX, &since) ||
	    !query(request, "wait", ADV_LOG_WAIT_MAX_S, &seconds))
		return;
	json_t *answer = lines_json(c, module->owner, module->name, adv_http_uid(request), since,
				    seconds == 0 || c->stopping);
	if (answer != NULL)
		adv_http_respond(request, 200, answer);
	else
		wait_for_line(c, request, module, since, seconds);
}

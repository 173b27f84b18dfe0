/* logs.c - rings of lines, one for each module that has printed something. Control thread only. */
#include "control/logs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct line {
	struct line *next;
	struct adv_log_line line;
	size_t size; /* of the text, with its end */
	char text[];
};

/* Newest line last. Rings are few, so that they are found by walking; the one that was written last comes first. */
struct ring {
	struct ring *next;
	uint32_t owner;
	char module[ADV_NAME_MAX];
	struct line *first, **last;
	size_t bytes;
	uint64_t
		begin; /* the number of its first line: microseconds of wall clock, so that a later ring has higher ones */
	uint64_t last_number;
	uint64_t dropped_to; /* the number of the last line that made room; 0: none did */
};

struct adv_logs {
	struct ring *rings;
	uint32_t nr_rings;
};

int adv_logs_create(struct adv_logs **logs)
{
	*logs = calloc(1, sizeof(**logs));
	return *logs != NULL ? 0 : -ENOMEM;
}

/* ---- rings ---- */

static void drop_first(struct ring *r)
{
	struct line *line = r->first;
	r->first = line->next;
	if (r->first == NULL)
		r->last = &r->first;
	r->bytes -= line->size;
	r->dropped_to = line->line.number;
	free(line);
}

static void ring_free(struct ring *r)
{
	while (r->first != NULL)
		drop_first(r);
	free(r);
}

void adv_logs_destroy(struct adv_logs *logs)
{
	if (logs == NULL)
		return;
	while (logs->rings != NULL) {
		struct ring *r = logs->rings;
		logs->rings = r->next;
		ring_free(r);
	}
	free(logs);
}

/* The link that points at it; at NULL when there is none. */
static struct ring **find(struct adv_logs *logs, uint32_t owner, const char *module)
{
	struct ring **at = &logs->rings;
	while (*at != NULL && ((*at)->owner != owner || strcmp((*at)->module, module) != 0))
		at = &(*at)->next;
	return at;
}

static void forget_oldest(struct adv_logs *logs)
{
	struct ring **at = &logs->rings;
	while ((*at)->next != NULL)
		at = &(*at)->next;
	ring_free(*at);
	*at = NULL;
	logs->nr_rings--;
}

/* Found or made, and first from now on. NULL: no memory. */
static struct ring *ring_of(struct adv_logs *logs, uint32_t owner, const char *module,
			    uint64_t time_ns)
{
	struct ring **at = find(logs, owner, module), *r = *at;
	if (r != NULL) {
		*at = r->next;
	} else {
		r = calloc(1, sizeof(*r));
		if (r == NULL)
			return NULL;
		r->owner = owner;
		r->last = &r->first;
		strncpy(r->module, module, sizeof(r->module) - 1);
		r->begin = time_ns / 1000 + 1;
		r->last_number = r->begin - 1;
		if (logs->nr_rings++ == ADV_LOG_MODULES)
			forget_oldest(logs);
	}
	r->next = logs->rings;
	logs->rings = r;
	return r;
}

/* ---- lines ---- */

void adv_logs_add(struct adv_logs *logs, uint32_t owner, const char *module,
		  const struct adv_log_line *line)
{
	size_t size = strlen(line->text) + 1;
	struct ring *r = ring_of(logs, owner, module, line->time_ns);
	if (r == NULL)
		return;
	uint64_t number = ++r->last_number;
	struct line *copy = malloc(sizeof(*copy) + size);
	if (copy == NULL) {
		r->dropped_to = number;
		return;
	}
	memcpy(copy->text, line->text, size);
	copy->next = NULL;
	copy->line = *line;
	copy->line.number = number;
	copy->line.text = copy->text;
	copy->size = size;
	*r->last = copy;
	r->last = &copy->next;
	r->bytes += size;
	while (r->bytes > ADV_LOG_RING_BYTES)
		drop_first(r);
}

uint64_t adv_logs_read(const struct adv_logs *logs, uint32_t owner, const char *module,
		       uint32_t reader, uint64_t since, uint32_t max, bool *lost,
		       void (*each)(void *user, const struct adv_log_line *line), void *user)
{
	const struct ring *r = *find((struct adv_logs *)logs, owner, module);
	uint32_t told = 0;
	*lost = false;
	if (r == NULL)
		return since;
	*lost = r->dropped_to > since || (since > 0 && since < r->begin - 1);
	for (const struct line *l = r->first; l != NULL && told < max; l = l->next) {
		if (l->line.number <= since)
			continue;
		since = l->line.number;
		if (reader != 0 && reader != l->line.tenant)
			continue;
		each(user, &l->line);
		told++;
	}
	return since;
}

void adv_logs_forget(struct adv_logs *logs, uint32_t owner, const char *module)
{
	struct ring **at = find(logs, owner, module), *r = *at;
	if (r == NULL)
		return;
	*at = r->next;
	logs->nr_rings--;
	ring_free(r);
}

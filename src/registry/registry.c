/*
 * registry.c - the table of modules (control thread) and the queue of jobs for the registry's own thread.
 *
 * A job goes from the control thread to the registry's thread and back; each field of it belongs to whoever has it. The table
 * is the control thread's alone: the other thread works on what the job carries.
 */
#include "registry/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "registry/internal.h"
#include "util/fd.h"
#include "util/log.h"

enum job_type {
	JOB_CHECK,
	JOB_COMMIT,
	JOB_REMOVE,
	JOB_LOAD,
	JOB_STORE,
	JOB_SUM,
};

struct job {
	struct job *next;
	enum job_type type;
	adv_registry_done done;
	void *user;
	enum adv_status status;
	char reason[ADV_REASON_MAX];
	int memfd;	  /* CHECK, COMMIT: lent; LOAD: the result */
	char *digest_out; /* CHECK: the asker's */
	char digest[2 * ADV_DIGEST_BYTES + 1];
	struct adv_module *module; /* COMMIT: the new one; REMOVE, LOAD: a reference */
	struct adv_module **module_out;
	const struct adv_stored *stored; /* STORE: what, and a copy of it */
	size_t nr_items;
	void *items;
	struct adv_bill_sums *sums; /* SUM: the asker's */
};

struct queue {
	struct job *first, **last;
};

struct adv_registry {
	struct adv_store *store;
	int modules_dir;
	int event_fd;
	struct adv_module **table; /* by owner and name */
	size_t nr_modules, capacity;
	uint64_t next_key;
	void (*gone)(void *user, struct adv_module *module);
	void *gone_user;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards the queues and `stop` */
	pthread_cond_t wake;
	struct queue todo, finished;
	bool stop;
};

/* ---- modules ---- */

void adv_module_free(struct adv_module *m)
{
	if (m == NULL)
		return;
	for (uint32_t i = 0; i < m->nr_functions; i++) {
		free(m->functions[i].name);
		free(m->functions[i].description);
	}
	free(m->functions);
	adv_fd_close(&m->memfd);
	free(m);
}

struct adv_module *adv_module_get(struct adv_module *module)
{
	module->refs++;
	return module;
}

void adv_module_put(struct adv_module *module)
{
	if (module != NULL && --module->refs == 0)
		adv_module_free(module);
}

bool adv_module_name_ok(const char *name)
{
	size_t n = strlen(name);
	return n >= 1 && n < ADV_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       n;
}

static struct adv_module *module_new(const struct adv_module_new *n)
{
	struct adv_module *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return NULL;
	m->memfd = -1;
	m->owner = n->owner;
	snprintf(m->name, sizeof(m->name), "%s", n->name);
	snprintf(m->digest, sizeof(m->digest), "%s", n->digest);
	m->size_bytes = n->size_bytes;
	m->is_public = n->is_public;
	m->nr_tenants = n->nr_tenants;
	for (uint32_t i = 0; i < n->nr_tenants; i++)
		m->tenants[i] = n->tenants[i];
	m->hot = n->hot;
	m->profile = n->profile;
	snprintf(m->profile_why, sizeof(m->profile_why), "%s",
		 n->profile_why != NULL ? n->profile_why : "");
	m->poolable = n->poolable;
	m->deployed_at = time(NULL);
	m->functions = calloc(n->nr_functions != 0 ? n->nr_functions : 1, sizeof(*m->functions));
	for (uint32_t i = 0; m->functions != NULL && i < n->nr_functions; i++) {
		m->functions[i].name = strdup(n->functions[i].name);
		m->functions[i].description = strdup(n->functions[i].description);
		m->functions[i].described = n->functions[i].described;
		m->nr_functions++;
		if (m->functions[i].name == NULL || m->functions[i].description == NULL)
			break;
	}
	if (m->functions != NULL && m->nr_functions == n->nr_functions &&
	    (n->nr_functions == 0 || m->functions[n->nr_functions - 1].description != NULL))
		return m;
	adv_module_free(m);
	return NULL;
}

/* ---- the table ---- */

static int order(const struct adv_module *m, uint32_t owner, const char *name)
{
	if (m->owner != owner)
		return m->owner < owner ? -1 : 1;
	return strcmp(m->name, name);
}

/* Where it is or would be. */
static size_t place_of(const struct adv_registry *r, uint32_t owner, const char *name)
{
	size_t low = 0, high = r->nr_modules;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (order(r->table[middle], owner, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct adv_module *adv_registry_find(struct adv_registry *r, uint32_t owner, const char *name)
{
	size_t at = place_of(r, owner, name);
	return at < r->nr_modules && order(r->table[at], owner, name) == 0 ? r->table[at] : NULL;
}

static int table_grow(struct adv_registry *r)
{
	if (r->nr_modules < r->capacity)
		return 0;
	size_t more = r->capacity != 0 ? 2 * r->capacity : 64;
	struct adv_module **table = reallocarray(r->table, more, sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	r->table = table;
	r->capacity = more;
	return 0;
}

static void table_remove(struct adv_registry *r, struct adv_module *m)
{
	size_t at = place_of(r, m->owner, m->name);
	if (!m->current || at == r->nr_modules || r->table[at] != m)
		return;
	memmove(r->table + at, r->table + at + 1, (r->nr_modules - at - 1) * sizeof(*r->table));
	r->nr_modules--;
	m->current = false;
	if (r->gone != NULL)
		r->gone(r->gone_user, m);
	adv_module_put(m);
}

/* Takes the module over. There is room. */
static void table_insert(struct adv_registry *r, struct adv_module *m)
{
	struct adv_module *old = adv_registry_find(r, m->owner, m->name);
	if (old != NULL)
		table_remove(r, old);
	size_t at = place_of(r, m->owner, m->name);
	memmove(r->table + at + 1, r->table + at, (r->nr_modules - at) * sizeof(*r->table));
	r->table[at] = m;
	r->nr_modules++;
	m->key = ++r->next_key;
	m->refs = 1;
	m->current = true;
}

struct adv_module *adv_registry_next(struct adv_registry *r, struct adv_module *after)
{
	size_t at = after != NULL ? place_of(r, after->owner, after->name) + 1 : 0;
	return at < r->nr_modules ? r->table[at] : NULL;
}

/* ---- names as tenants give them ---- */

/* Another tenant's, where there is one only. Root sees all, but means its own or a public one. */
static struct adv_module *only_visible(struct adv_registry *r, uint32_t tenant, const char *name,
				       bool *several)
{
	struct adv_module *found = NULL;
	*several = false;
	for (size_t i = 0; i < r->nr_modules; i++) {
		const struct adv_module *m = r->table[i];
		if (strcmp(m->name, name) != 0 ||
		    !(tenant == 0 ? m->is_public : adv_module_visible(m, tenant)))
			continue;
		*several = found != NULL;
		found = r->table[i];
	}
	return found;
}

static struct adv_module *resolve_owned(struct adv_registry *r, uint32_t tenant, const char *text,
					enum adv_status *status, char *reason, size_t size)
{
	char *name;
	errno = 0;
	unsigned long owner = strtoul(text, &name, 10);
	*status = ADV_NO_MODULE;
	struct adv_module *m = NULL;
	if (*text >= '0' && *text <= '9' && errno == 0 && *name == '/' && owner <= UINT32_MAX)
		m = adv_registry_find(r, (uint32_t)owner, name + 1);
	/* To a stranger a private module looks like none. */
	if (m != NULL && adv_module_visible(m, tenant))
		return m;
	snprintf(reason, size, "no module \"%.80s\" that this tenant may use", text);
	return NULL;
}

struct adv_module *adv_registry_resolve(struct adv_registry *r, uint32_t tenant, const char *name,
					enum adv_status *status, char *reason, size_t size)
{
	bool several;
	if (strchr(name, '/') != NULL)
		return resolve_owned(r, tenant, name, status, reason, size);
	struct adv_module *m = adv_registry_find(r, tenant, name);
	if (m != NULL)
		return m;
	m = only_visible(r, tenant, name, &several);
	if (m != NULL && !several)
		return m;
	*status = ADV_NO_MODULE;
	snprintf(reason, size,
		 m != NULL
			 ? "several tenants let others use a module \"%.80s\": name it OWNER/%.80s"
			 : "no module \"%.80s\": deploy it, or see `adverb list`",
		 name, name);
	return NULL;
}

/* ---- jobs: the registry's thread ---- */

/*
 * Jobs of one name may queue up: what a commit replaces and a removal removes is what the row says when its turn comes. Ends
 * are delivered in the same order, so that the table says the same.
 */
static void remove_orphan(struct adv_registry *r, const char *digest)
{
	if (digest[0] != '\0' && !adv_store_names(r->store, digest))
		adv_file_remove(r->modules_dir, digest);
}

static void do_commit(struct adv_registry *r, struct job *j)
{
	struct adv_module *m = j->module;
	char old[2 * ADV_DIGEST_BYTES + 1];
	adv_store_digest(r->store, m->owner, m->name, old);
	j->status = adv_file_store(r->modules_dir, j->memfd, m->digest, m->size_bytes, j->reason,
				   sizeof(j->reason));
	if (j->status != ADV_OK)
		return;
	j->status = adv_store_put(r->store, m, j->reason, sizeof(j->reason));
	remove_orphan(r, j->status == ADV_OK ? old : m->digest);
}

static void do_remove(struct adv_registry *r, struct job *j)
{
	struct adv_module *m = j->module;
	char old[2 * ADV_DIGEST_BYTES + 1];
	adv_store_digest(r->store, m->owner, m->name, old);
	j->status = adv_store_remove(r->store, m->owner, m->name, j->reason, sizeof(j->reason));
	if (j->status == ADV_OK)
		remove_orphan(r, old);
}

static void do_store(struct adv_registry *r, struct job *j)
{
	int rc = j->stored->put(r->store, j->items, j->nr_items);
	if (rc < 0)
		adv_log_error("%s: %s", j->stored->failure, strerror(-rc));
}

static void do_sum(struct adv_registry *r, struct job *j)
{
	int rc = adv_store_sum_bills(r->store, j->sums->since_ms, j->sums->tenant, &j->sums->lines,
				     &j->sums->nr_lines);
	if (rc == 0)
		return;
	j->status = ADV_STORAGE;
	snprintf(j->reason, sizeof(j->reason), "the bills could not be read: %s", strerror(-rc));
}

static void do_job(struct adv_registry *r, struct job *j)
{
	switch (j->type) {
	case JOB_CHECK:
		j->status = adv_file_check(j->memfd, j->digest, j->reason, sizeof(j->reason));
		break;
	case JOB_COMMIT:
		do_commit(r, j);
		break;
	case JOB_REMOVE:
		do_remove(r, j);
		break;
	case JOB_LOAD:
		j->status = adv_file_load(r->modules_dir, j->digest, &j->memfd, j->reason,
					  sizeof(j->reason));
		break;
	case JOB_STORE:
		do_store(r, j);
		break;
	case JOB_SUM:
		do_sum(r, j);
		break;
	}
}

static void push(struct queue *q, struct job *j)
{
	j->next = NULL;
	*q->last = j;
	q->last = &j->next;
}

static struct job *pop(struct queue *q)
{
	struct job *j = q->first;
	if (j == NULL)
		return NULL;
	q->first = j->next;
	if (q->first == NULL)
		q->last = &q->first;
	return j;
}

static void *thread_main(void *argument)
{
	struct adv_registry *r = argument;
	pthread_mutex_lock(&r->lock);
	for (;;) {
		struct job *j = pop(&r->todo);
		if (j == NULL && r->stop)
			break;
		if (j == NULL) {
			pthread_cond_wait(&r->wake, &r->lock);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		do_job(r, j);
		pthread_mutex_lock(&r->lock);
		push(&r->finished, j);
		uint64_t one = 1;
		ssize_t ignored = write(r->event_fd, &one, sizeof(one));
		(void)ignored;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- jobs: the control thread ---- */

static struct job *job_new(enum job_type type, adv_registry_done done, void *user)
{
	struct job *j = calloc(1, sizeof(*j));
	if (j == NULL)
		return NULL;
	j->type = type;
	j->done = done;
	j->user = user;
	j->memfd = -1;
	return j;
}

static void submit(struct adv_registry *r, struct job *j)
{
	pthread_mutex_lock(&r->lock);
	push(&r->todo, j);
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

int adv_registry_check(struct adv_registry *r, int memfd, char *digest, adv_registry_done done,
		       void *user)
{
	struct job *j = job_new(JOB_CHECK, done, user);
	if (j == NULL)
		return -ENOMEM;
	j->memfd = memfd;
	j->digest_out = digest;
	submit(r, j);
	return 0;
}

int adv_registry_commit(struct adv_registry *r, const struct adv_module_new *n,
			struct adv_module **module, adv_registry_done done, void *user)
{
	if (r->nr_modules >= ADV_MODULES_MAX && adv_registry_find(r, n->owner, n->name) == NULL)
		return -ENOSPC;
	struct job *j = job_new(JOB_COMMIT, done, user);
	if (j == NULL)
		return -ENOMEM;
	j->module = module_new(n);
	j->module_out = module;
	j->memfd = n->memfd;
	if (j->module == NULL) {
		free(j);
		return -ENOMEM;
	}
	submit(r, j);
	return 0;
}

int adv_registry_remove(struct adv_registry *r, struct adv_module *module, adv_registry_done done,
			void *user)
{
	struct job *j = job_new(JOB_REMOVE, done, user);
	if (j == NULL)
		return -ENOMEM;
	j->module = adv_module_get(module);
	submit(r, j);
	return 0;
}

int adv_registry_load(struct adv_registry *r, struct adv_module *module, adv_registry_done done,
		      void *user)
{
	if (module->memfd >= 0)
		return 1;
	struct job *j = job_new(JOB_LOAD, done, user);
	if (j == NULL)
		return -ENOMEM;
	j->module = adv_module_get(module);
	memcpy(j->digest, module->digest, sizeof(j->digest));
	submit(r, j);
	return 0;
}

int adv_registry_store_copy(struct adv_registry *r, const struct adv_stored *what,
			    const void *items, size_t n)
{
	struct job *j = job_new(JOB_STORE, NULL, NULL);
	if (j == NULL)
		return -ENOMEM;
	j->stored = what;
	j->nr_items = n;
	j->items = reallocarray(NULL, n, what->item_size);
	if (j->items == NULL) {
		free(j);
		return -ENOMEM;
	}
	memcpy(j->items, items, n * what->item_size);
	submit(r, j);
	return 0;
}

int adv_registry_read_collected(struct adv_registry *r,
				void (*each)(void *user, const struct adv_collected *row),
				void *user)
{
	return adv_store_read_collected(r->store, each, user);
}

int adv_registry_sum_bills(struct adv_registry *r, struct adv_bill_sums *sums,
			   adv_registry_done done, void *user)
{
	struct job *j = job_new(JOB_SUM, done, user);
	if (j == NULL)
		return -ENOMEM;
	j->sums = sums;
	submit(r, j);
	return 0;
}

/* The row is stored: now the table. Without room for it the row stands and is read at the next start. */
static void finish_commit(struct adv_registry *r, struct job *j)
{
	if (j->status == ADV_OK && table_grow(r) < 0) {
		j->status = ADV_SYSTEM;
		snprintf(j->reason, sizeof(j->reason), "the node is out of memory");
	}
	if (j->status != ADV_OK) {
		adv_module_free(j->module);
		return;
	}
	j->module->memfd = j->memfd;
	table_insert(r, j->module);
	*j->module_out = j->module;
}

/* Perhaps a later version than the one that was meant: the row is no more. */
static void finish_remove(struct adv_registry *r, const struct adv_module *m)
{
	struct adv_module *current = adv_registry_find(r, m->owner, m->name);
	if (current != NULL)
		table_remove(r, current);
}

/* Two leases may have asked for the same bytes: the first to come stays. */
static void finish_load(struct job *j)
{
	if (j->status == ADV_OK && j->module->memfd < 0)
		j->module->memfd = adv_fd_steal(&j->memfd);
	adv_fd_close(&j->memfd);
}

static void finish(struct adv_registry *r, struct job *j)
{
	struct adv_module *held = NULL;
	switch (j->type) {
	case JOB_CHECK:
		if (j->status == ADV_OK)
			memcpy(j->digest_out, j->digest, sizeof(j->digest));
		break;
	case JOB_COMMIT:
		finish_commit(r, j);
		break;
	case JOB_REMOVE:
		if (j->status == ADV_OK)
			finish_remove(r, j->module);
		held = j->module;
		break;
	case JOB_LOAD:
		finish_load(j);
		held = j->module;
		break;
	case JOB_STORE:
		free(j->items);
		break;
	case JOB_SUM:
		break;
	}
	if (j->done != NULL)
		j->done(j->user, j->status, j->reason);
	adv_module_put(held);
	free(j);
}

void adv_registry_watch(struct adv_registry *r, void (*gone)(void *user, struct adv_module *module),
			void *user)
{
	r->gone = gone;
	r->gone_user = user;
}

int adv_registry_fd(const struct adv_registry *r)
{
	return r->event_fd;
}

unsigned adv_registry_poll(struct adv_registry *r)
{
	uint64_t count;
	unsigned n = 0;
	ssize_t ignored = read(r->event_fd, &count, sizeof(count));
	(void)ignored;
	for (;;) {
		pthread_mutex_lock(&r->lock);
		struct job *j = pop(&r->finished);
		pthread_mutex_unlock(&r->lock);
		if (j == NULL)
			return n;
		finish(r, j);
		n++;
	}
}

/* ---- life ---- */

static int open_directory(const char *state_dir, int *modules_dir, char *reason, size_t size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/modules", state_dir);
	if ((mkdir(state_dir, 0700) < 0 && errno != EEXIST) ||
	    (mkdir(path, 0700) < 0 && errno != EEXIST)) {
		int rc = -errno;
		snprintf(reason, size,
			 "cannot make %s: %s: the node's user (uid %u) must be able to write there",
			 path, strerror(errno), (unsigned)geteuid());
		return rc;
	}
	*modules_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*modules_dir < 0 || faccessat(*modules_dir, ".", W_OK, AT_EACCESS) < 0) {
		int rc = -errno;
		snprintf(reason, size, "cannot use %s: %s", path, strerror(errno));
		return rc;
	}
	return 0;
}

static int take_module(void *user, struct adv_module *m)
{
	struct adv_registry *r = user;
	if (table_grow(r) < 0) {
		adv_module_free(m);
		return -ENOMEM;
	}
	table_insert(r, m);
	return 0;
}

static bool wanted(void *user, const char *digest)
{
	return adv_store_names(user, digest);
}

static int fill(struct adv_registry *r, const char *state_dir, char *reason, size_t size)
{
	char path[4096];
	int rc = open_directory(state_dir, &r->modules_dir, reason, size);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/registry.db", state_dir);
	rc = adv_store_open(path, &r->store, reason, size);
	if (rc == 0)
		rc = adv_store_read_modules(r->store, take_module, r, reason, size);
	if (rc < 0)
		return rc;
	adv_file_sweep(r->modules_dir, wanted, r->store);
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0)
		return -errno;
	/* The thread takes no signals: they are the main thread's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&r->thread, NULL, thread_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	r->running = rc == 0;
	return rc;
}

int adv_registry_open(const char *state_dir, struct adv_registry **registry, char *reason,
		      size_t size)
{
	struct adv_registry *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->modules_dir = r->event_fd = -1;
	r->todo.last = &r->todo.first;
	r->finished.last = &r->finished.first;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	reason[0] = '\0';
	int rc = fill(r, state_dir, reason, size);
	if (rc < 0) {
		if (reason[0] == '\0')
			snprintf(reason, size, "the registry could not be opened: %s",
				 strerror(-rc));
		adv_registry_close(r);
		return rc;
	}
	*registry = r;
	return 0;
}

/* Jobs that nobody waits for any more: what they hold is let go. */
static void drop(struct job *j)
{
	if (j->type == JOB_COMMIT)
		adv_module_free(j->module);
	else
		adv_module_put(j->module);
	if (j->type == JOB_LOAD)
		adv_fd_close(&j->memfd);
	free(j->items);
	free(j);
}

void adv_registry_close(struct adv_registry *r)
{
	struct job *j;
	if (r == NULL)
		return;
	if (r->running) {
		pthread_mutex_lock(&r->lock);
		r->stop = true;
		pthread_cond_signal(&r->wake);
		pthread_mutex_unlock(&r->lock);
		pthread_join(r->thread, NULL);
	}
	while ((j = pop(&r->finished)) != NULL || (j = pop(&r->todo)) != NULL)
		drop(j);
	for (size_t i = 0; i < r->nr_modules; i++)
		adv_module_put(r->table[i]);
	free(r->table);
	adv_store_close(r->store);
	adv_fd_close(&r->modules_dir);
	adv_fd_close(&r->event_fd);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int adv_registry_read_ledger(struct adv_registry *r,
			     void (*each)(void *user, const struct adv_ledger_line *line),
			     void *user)
{
	return adv_store_read_ledger(r->store, each, user);
}

const char *adv_registry_node_id(const struct adv_registry *r)
{
	return adv_store_node_id(r->store);
}

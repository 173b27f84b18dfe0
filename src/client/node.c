/* node.c - handles of nodes, the control API, deploying and removing modules. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/internal.h"
#include "client/verbs.h"
#include "util/fd.h"

#define SPARE_MS	100 /* to dial the next lease's connection: a full queue is not waited for */
#define UPLOAD_MS_A_MIB 100 /* a deploy may take so much longer for each MiB */

/* ---- requests ---- */

enum adv_status adv_client_ask(const struct adv_address *address, uint64_t deadline_ns,
			       const struct adv_client_request *request,
			       struct adv_client_answer *a)
{
	ADV_CLEANUP_FD int fd = -1;
	enum adv_status status = adv_client_dial(address, deadline_ns, &fd);
	if (status != ADV_OK)
		return status;
	return adv_client_exchange(fd, address, deadline_ns, request, false, a);
}

/* ---- the spare connection ---- */

int adv_node_take_spare(struct adv_node *node)
{
	int fd = atomic_exchange_explicit(&node->spare, -1, memory_order_acq_rel);
	if (fd >= 0 && atomic_load_explicit(&node->pid, memory_order_relaxed) != (int)getpid())
		adv_fd_close(&fd); /* the parent's: its bytes would mix with ours */
	return fd;
}

void adv_node_keep_spare(struct adv_node *node, int fd)
{
	int none = -1;
	atomic_store_explicit(&node->pid, (int)getpid(), memory_order_relaxed);
	if (!atomic_compare_exchange_strong_explicit(&node->spare, &none, fd, memory_order_acq_rel,
						     memory_order_relaxed))
		adv_fd_close(&fd);
}

void adv_node_dial_spare(struct adv_node *node)
{
	int fd;
	char text[ADV_CLIENT_ERROR_BYTES];
	if (atomic_load_explicit(&node->spare, memory_order_relaxed) >= 0)
		return;
	snprintf(text, sizeof(text), "%s", adv_error());
	if (adv_client_dial(&node->address, adv_client_deadline(SPARE_MS), &fd) == ADV_OK)
		adv_node_keep_spare(node, fd);
	else
		adv_client_fail(ADV_OK, "%s", text);
}

struct adv_node *adv_node_get(struct adv_node *node)
{
	atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
	return node;
}

void adv_node_lease_begins(struct adv_node *node)
{
	atomic_fetch_add_explicit(&node->leases, 1, memory_order_relaxed);
}

void adv_node_lease_over(struct adv_node *node)
{
	if (atomic_fetch_sub_explicit(&node->leases, 1, memory_order_acq_rel) == 1)
		adv_node_trim_heap(node);
}

void adv_node_put(struct adv_node *node)
{
	if (atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) > 1)
		return;
	int fd = atomic_load_explicit(&node->spare, memory_order_relaxed);
	adv_fd_close(&fd);
	adv_node_free_heap(node);
#if ADV_HAVE_VERBS
	if (node->verbs_pid == (int)getpid())
		adv_verbs_node_destroy(node->verbs);
#endif
	pthread_mutex_destroy(&node->lock);
	free(node);
}

/* A host may have several addresses, and the node listen on one: RDMA goes where the control connection went. */
static void remember_peer(struct adv_address *a, int fd)
{
	socklen_t size = sizeof(a->peer);
	if (a->kind != ADV_ADDRESS_VERBS || getpeername(fd, (struct sockaddr *)&a->peer, &size) < 0)
		a->peer.ss_family = AF_UNSPEC;
}

/* Asks whether a node is there; the connection is kept for the first lease. */
static enum adv_status greet(struct adv_node *node, const struct adv_client_request *request)
{
	struct adv_client_answer a;
	ADV_CLEANUP_FD int fd = -1;
	uint64_t deadline = adv_client_deadline(ADV_CONNECT_MS);
	enum adv_status status = adv_client_dial(&node->address, deadline, &fd);
	if (status == ADV_OK)
		remember_peer(&node->address, fd);
	if (status == ADV_OK)
		status = adv_client_exchange(fd, &node->address, deadline, request, false, &a);
	/* Whatever keeps it from answering: to this caller there is no node. */
	if (status == ADV_TIMEOUT || status == ADV_NODE_GONE)
		return ADV_NO_NODE;
	if (status == ADV_PROTOCOL)
		return ADV_VERSION;
	if (status != ADV_OK)
		return status;
	status = adv_client_answer_status(&a, node->address.text);
	if (status == ADV_OK && a.keep_alive)
		adv_node_keep_spare(node, adv_fd_steal(&fd));
	adv_client_answer_fini(&a);
	return status;
}

/*
 * Before anything else is asked for: where there is no way, that is said at once. A forked child finds its own: a device's handles
 * are of no use to it, and what they hold is the parent's.
 */
enum adv_status adv_node_find_device(struct adv_node *node)
{
#if ADV_HAVE_VERBS
	enum adv_status status = ADV_OK;
	pthread_mutex_lock(&node->lock);
	if (node->verbs_pid != (int)getpid()) {
		status = adv_verbs_node_create(&node->address, adv_client_deadline(ADV_CONNECT_MS),
					       &node->verbs);
		if (status == ADV_OK)
			node->verbs_pid = (int)getpid();
	}
	pthread_mutex_unlock(&node->lock);
	return status;
#else
	return adv_client_fail(ADV_INVALID, "%s: this libadverb was built without RDMA",
			       node->address.text);
#endif
}

enum adv_status adv_connect(const char *host, struct adv_node **out)
{
	static const struct adv_client_request request = {
		.method = "GET", .path = "/healthz", .headers = "", .file = -1};
	if (out == NULL)
		return adv_client_fail_text(ADV_INVALID, "adv_connect: node is NULL");
	struct adv_node *node = calloc(1, sizeof(*node));
	if (node == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a node's handle");
	pthread_mutex_init(&node->lock, NULL);
	atomic_init(&node->spare, -1);
	atomic_init(&node->refs, 1);
	enum adv_status status = adv_address_find(host, &node->address);
	if (status == ADV_OK)
		status = greet(node, &request);
	if (status == ADV_OK && node->address.kind == ADV_ADDRESS_VERBS)
		status = adv_node_find_device(node);
	if (status != ADV_OK) {
		adv_node_put(node);
		return status;
	}
	*out = node;
	return ADV_OK;
}

void adv_disconnect(struct adv_node *node)
{
	if (node != NULL)
		adv_node_put(node);
}

/* Nothing in a request line may end it early. */
static bool is_request_text(const char *text)
{
	if (text == NULL || text[0] == '\0')
		return false;
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= 0x20 || *text == 0x7f)
			return false;
	return true;
}

static void reply_give(struct adv_control_reply *reply, struct adv_client_answer *a)
{
	if (reply == NULL)
		return;
	*reply = (struct adv_control_reply){.size = sizeof(*reply),
					    .http_code = a->code,
					    .body = a->body,
					    .body_size = a->body_size};
	a->body = NULL;
}

enum adv_status adv_control(struct adv_node *node, const char *method, const char *path,
			    const void *body, size_t body_size, uint32_t timeout_ms,
			    struct adv_control_reply *reply)
{
	struct adv_client_answer a;
	if (node == NULL || !is_request_text(method) || strlen(method) > 16 ||
	    !is_request_text(path) || path[0] != '/' || strlen(path) >= ADV_CLIENT_PATH_MAX ||
	    (body == NULL && body_size > 0))
		return adv_client_fail_text(ADV_INVALID,
					    "adv_control: node, method, path or body is not valid");
	const struct adv_client_request request = {.method = method,
						   .path = path,
						   .headers = "Connection: close\r\n",
						   .type = "application/json",
						   .body = body,
						   .body_size = body_size,
						   .file = -1};
	uint64_t deadline = adv_client_deadline(timeout_ms != 0 ? timeout_ms : ADV_CONTROL_MS);
	enum adv_status status = adv_client_ask(&node->address, deadline, &request, &a);
	if (status != ADV_OK)
		return status;
	/* A caller may read every answer's body as text. */
	if (a.body == NULL && (a.body = calloc(1, 1)) == NULL) {
		adv_client_answer_fini(&a);
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for an answer");
	}
	status = adv_client_answer_status(&a, node->address.text);
	reply_give(reply, &a);
	adv_client_answer_fini(&a);
	return status;
}

void adv_control_reply_free(struct adv_control_reply *reply)
{
	if (reply == NULL)
		return;
	free(reply->body);
	reply->body = NULL;
	reply->body_size = 0;
}

/* ---- modules ---- */

/* prefix + name, encoded, + suffix. `also` are further characters that stay as they are. */
static bool module_path(char *path, size_t size, const char *name, const char *also,
			const char *suffix)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	size_t used = (size_t)snprintf(path, size, "/v1/modules/");
	if (name == NULL || name[0] == '\0')
		return false;
	for (; *name != '\0'; name++) {
		if (used + 4 + strlen(suffix) >= size)
			return false;
		if (strchr(plain, *name) != NULL || strchr(also, *name) != NULL)
			path[used++] = *name;
		else
			used += (size_t)snprintf(path + used, size - used, "%%%02X",
						 (unsigned char)*name);
	}
	snprintf(path + used, size - used, "%s", suffix);
	return true;
}

static enum adv_status ask_about_module(struct adv_node *node, uint64_t timeout_ms,
					const struct adv_client_request *request)
{
	struct adv_client_answer a;
	enum adv_status status =
		adv_client_ask(&node->address, adv_client_deadline(timeout_ms), request, &a);
	if (status != ADV_OK)
		return status;
	status = adv_client_answer_status(&a, node->address.text);
	adv_client_answer_fini(&a);
	return status;
}

/* The query of a deploy. False: flags or tenants are not valid. */
static bool deploy_query(char *query, size_t size, uint32_t flags, const uint32_t *tenants,
			 uint32_t nr_tenants)
{
	static const char *const profiles[] = {"", "&profile=strict", "&profile=libc",
					       "&profile=threads"};
	uint32_t hot = flags >> 8 & 0xff; /* one more than asked for; 0: not asked for */
	uint32_t profile = flags >> 16;
	if ((flags & 0xff & ~ADV_DEPLOY_PUBLIC) != 0 || hot > 65 ||
	    profile >= sizeof(profiles) / sizeof(profiles[0]) ||
	    nr_tenants > ADV_MODULE_TENANTS_MAX || (tenants == NULL && nr_tenants > 0))
		return false;
	int n = snprintf(query, size, "?public=%u%s", flags & ADV_DEPLOY_PUBLIC, profiles[profile]);
	if (hot > 0)
		n += snprintf(query + n, size - (size_t)n, "&hot=%u", hot - 1);
	for (uint32_t i = 0; i < nr_tenants; i++)
		n += snprintf(query + n, size - (size_t)n, "%s%u", i == 0 ? "&tenants=" : ",",
			      tenants[i]);
	return true;
}

enum adv_status adv_deploy(struct adv_node *node, const char *name, const char *file,
			   uint32_t flags)
{
	return adv_deploy_for(node, name, file, flags, NULL, 0);
}

enum adv_status adv_deploy_for(struct adv_node *node, const char *name, const char *file,
			       uint32_t flags, const uint32_t *tenants, uint32_t nr_tenants)
{
	char path[ADV_CLIENT_PATH_MAX], query[96 + 11 * ADV_MODULE_TENANTS_MAX];
	struct stat st;
	if (node == NULL || file == NULL ||
	    !deploy_query(query, sizeof(query), flags, tenants, nr_tenants) ||
	    !module_path(path, sizeof(path), name, "", query))
		return adv_client_fail_text(
			ADV_INVALID,
			"adv_deploy: node, name, file, flags or tenants are not valid");
	/* Not to be held up by a FIFO, nor to gain a terminal. */
	ADV_CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return adv_client_fail(ADV_SYSTEM, "%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return adv_client_fail(ADV_SYSTEM, "%s: not a regular file", file);
	const struct adv_client_request request = {.method = "PUT",
						   .path = path,
						   .headers = "Connection: close\r\n",
						   .type = "application/octet-stream",
						   .body_size = (uint64_t)st.st_size,
						   .file = fd};
	return ask_about_module(
		node, ADV_CONTROL_MS + (uint64_t)st.st_size / ADV_MIB * UPLOAD_MS_A_MIB, &request);
}

enum adv_status adv_remove(struct adv_node *node, const char *name)
{
	char path[ADV_CLIENT_PATH_MAX];
	if (node == NULL || !module_path(path, sizeof(path), name, "/", ""))
		return adv_client_fail_text(ADV_INVALID, "adv_remove: node or name is not valid");
	const struct adv_client_request request = {
		.method = "DELETE", .path = path, .headers = "Connection: close\r\n", .file = -1};
	return ask_about_module(node, ADV_CONTROL_MS, &request);
}

/* ---- which run of which node ---- */

bool adv_client_node_run_read(const json_t *node, struct adv_node_run *run)
{
	return adv_client_json_text(node, "id", run->id, sizeof(run->id)) &&
	       adv_client_json_text(node, "started", run->started, sizeof(run->started));
}

bool adv_client_node_run_same(const struct adv_node_run *a, const struct adv_node_run *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->started, b->started) == 0;
}

enum adv_status adv_client_node_run(const struct adv_address *address, uint64_t deadline_ns,
				    struct adv_node_run *run)
{
	static const struct adv_client_request request = {.method = "GET",
							  .path = "/v1/status",
							  .headers = "Connection: close\r\n",
							  .file = -1};
	struct adv_client_answer a;
	struct adv_node_run got;
	enum adv_status status = adv_client_ask(address, deadline_ns, &request, &a);
	if (status != ADV_OK)
		return status;
	status = adv_client_answer_status(&a, address->text);
	json_t *object = status == ADV_OK ? adv_client_json(a.body, a.body_size) : NULL;
	if (status == ADV_OK && !adv_client_node_run_read(json_object_get(object, "node"), &got))
		status = adv_client_fail(ADV_PROTOCOL, "the node at %s does not say who it is",
					 address->text);
	json_decref(object);
	adv_client_answer_fini(&a);
	if (status == ADV_OK)
		*run = got;
	return status;
}

/* device.c - RDMA devices: names, addresses, what they can do. Any thread that may block. */
#include "fabric/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/parse.h"

#define SOFT_ROCE_VENDOR 0xffffff

bool adv_device_is_software(struct ibv_context *context)
{
	struct ibv_device_attr attr;
	return ibv_query_device(context, &attr) == 0 && attr.vendor_id == SOFT_ROCE_VENDOR;
}

#ifdef ADV_HAVE_IN_ORDER
/* The question is asked of a queue pair. */
static int ask_in_order(struct ibv_context *context)
{
	int answer = 0;
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_cq *cq = pd != NULL ? ibv_create_cq(context, 1, NULL, NULL, 0) : NULL;
	struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC,
					.send_cq = cq,
					.recv_cq = cq,
					.cap = {.max_send_wr = 1, .max_recv_wr = 1}};
	struct ibv_qp *qp = cq != NULL ? ibv_create_qp(pd, &attr) : NULL;
	if (qp != NULL) {
		answer = ibv_query_qp_data_in_order(qp, IBV_WR_RDMA_WRITE, 0);
		ibv_destroy_qp(qp);
	}
	if (cq != NULL)
		ibv_destroy_cq(cq);
	if (pd != NULL)
		ibv_dealloc_pd(pd);
	return answer;
}
#endif

bool adv_device_in_order(struct ibv_context *context, char *why, size_t size)
{
	if (adv_device_is_software(context)) {
		snprintf(why, size, "soft-RoCE copies in order");
		return true;
	}
#ifdef ADV_HAVE_IN_ORDER
	bool in_order = ask_in_order(context) != 0;
	snprintf(why, size,
		 in_order ? "the device says that it places in order"
			  : "the device does not say that it places in order");
	return in_order;
#else
	snprintf(why, size, "this build's libibverbs cannot ask the device");
	return false;
#endif
}

/* ---- addresses ---- */

static bool address_parse(const char *host, uint16_t port, struct sockaddr_storage *to)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
		memcpy(to, &four, sizeof(four));
		return true;
	}
	if (inet_pton(AF_INET6, host, &six.sin6_addr) == 1) {
		memcpy(to, &six, sizeof(six));
		return true;
	}
	return false;
}

/* The address behind a GID. False: it has none that one can listen on. */
static bool gid_address(const union ibv_gid *gid, uint16_t port, bool want_four,
			struct sockaddr_storage *to)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&six.sin6_addr, gid->raw, sizeof(six.sin6_addr));
	if (want_four && IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) {
		memcpy(&four.sin_addr, gid->raw + 12, sizeof(four.sin_addr));
		memcpy(to, &four, sizeof(four));
		return true;
	}
	if (want_four || IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) ||
	    IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr))
		return false;
	memcpy(to, &six, sizeof(six));
	return true;
}

static bool device_address(struct ibv_context *context, uint16_t port, struct sockaddr_storage *to)
{
	struct ibv_gid_entry entries[256];
	ssize_t n = ibv_query_gid_table(context, entries, sizeof(entries) / sizeof(entries[0]), 0);
	for (int four = 1; four >= 0; four--)
		for (ssize_t i = 0; i < n; i++)
			if (entries[i].gid_type == IBV_GID_TYPE_ROCE_V2 &&
			    gid_address(&entries[i].gid, port, four, to))
				return true;
	return false;
}

/* ---- devices by name ---- */

static int no_devices(char *reason, size_t size)
{
	snprintf(reason, size,
		 "there is no RDMA device: load the driver of the network card (and ib_uverbs, "
		 "rdma_ucm), or "
		 "make one in software: modprobe rdma_rxe; rdma link add rxe0 type rxe netdev "
		 "INTERFACE");
	return -ENODEV;
}

static int unknown_device(struct ibv_device **list, int n, const char *name, char *reason,
			  size_t size)
{
	int used = snprintf(reason, size, "there is no RDMA device \"%.60s\"; there is:", name);
	for (int i = 0; i < n && used > 0 && (size_t)used < size; i++)
		used += snprintf(reason + used, size - (size_t)used, " %s",
				 ibv_get_device_name(list[i]));
	return -ENODEV;
}

static int address_of(struct ibv_device *device, uint16_t port, struct sockaddr_storage *to,
		      char *reason, size_t size)
{
	const char *name = ibv_get_device_name(device);
	struct ibv_context *context = ibv_open_device(device);
	if (context == NULL) {
		int error = errno;
		snprintf(reason, size, "cannot open the RDMA device %s: %s%s", name,
			 strerror(error),
			 error == EACCES || error == EPERM
				 ? ": its file below /dev/infiniband must be readable and writable"
				 : "");
		return -error;
	}
	bool found = device_address(context, port, to);
	ibv_close_device(context);
	if (found)
		return 0;
	snprintf(reason, size,
		 "the RDMA device %s has no RoCE v2 address: give its network interface an IP "
		 "address and "
		 "set it up; for InfiniBand name the address of its IPoIB interface instead",
		 name);
	return -EADDRNOTAVAIL;
}

static int resolve_device(const char *name, uint16_t port, struct sockaddr_storage *to,
			  char *reason, size_t size)
{
	int n = 0, rc;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct ibv_device *found = NULL;
	for (int i = 0; i < n; i++)
		if (strcmp(ibv_get_device_name(list[i]), name) == 0)
			found = list[i];
	if (list == NULL || n == 0)
		rc = no_devices(reason, size);
	else if (found == NULL)
		rc = unknown_device(list, n, name, reason, size);
	else
		rc = address_of(found, port, to, reason, size);
	if (list != NULL)
		ibv_free_device_list(list);
	return rc;
}

/* Splits off ":PORT"; brackets of a v6 address fall away. False: not a port. */
static bool split(const char *spec, uint16_t default_port, char *host, size_t size, uint16_t *port)
{
	const char *colon = strrchr(spec, ':');
	const char *end = spec[0] == '[' ? strchr(spec, ']') : NULL;
	uint64_t number;
	size_t length = strlen(spec);
	*port = default_port;
	/* More than one colon without brackets is a v6 address alone. */
	if (colon != NULL && (end != NULL ? colon == end + 1 : strchr(spec, ':') == colon)) {
		if (adv_parse_u64(colon + 1, &number) < 0 || number == 0 || number > UINT16_MAX)
			return false;
		*port = (uint16_t)number;
		length = (size_t)(colon - spec);
	}
	if (end != NULL) {
		if (spec + length != end + 1)
			return false;
		spec++;
		length -= 2;
	}
	if (length == 0 || length >= size)
		return false;
	memcpy(host, spec, length);
	host[length] = '\0';
	return true;
}

int adv_device_resolve(const char *spec, uint16_t default_port, struct sockaddr_storage *address,
		       char *reason, size_t size)
{
	char host[128];
	uint16_t port;
	memset(address, 0, sizeof(*address));
	if (!split(spec, default_port, host, sizeof(host), &port)) {
		snprintf(reason, size, "\"%.100s\" is neither DEVICE[:PORT] nor ADDRESS[:PORT]",
			 spec);
		return -EINVAL;
	}
	if (address_parse(host, port, address))
		return 0;
	return resolve_device(host, port, address, reason, size);
}

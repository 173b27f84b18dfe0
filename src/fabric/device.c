/* device.c - RDMA devices: names, addresses, what they can do. Any thread that may block. */
#include "fabric/device.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/pair.h"
#include "util/parse.h"

/* ---- asking one device ---- */

#ifdef ADV_HAVE_IN_ORDER
/* The question is asked of a queue pair. */
static enum adv_device_order ask_order(struct ibv_context *context)
{
	enum adv_device_order answer = ADV_ORDER_NO;
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_cq *cq = pd != NULL ? ibv_create_cq(context, 1, NULL, NULL, 0) : NULL;
	struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC,
					.send_cq = cq,
					.recv_cq = cq,
					.cap = {.max_send_wr = 1, .max_recv_wr = 1}};
	struct ibv_qp *qp = cq != NULL ? ibv_create_qp(pd, &attr) : NULL;
	if (qp != NULL) {
		if (ibv_query_qp_data_in_order(qp, IBV_WR_RDMA_WRITE, 0) != 0)
			answer = ADV_ORDER_YES;
		ibv_destroy_qp(qp);
	}
	if (cq != NULL)
		ibv_destroy_cq(cq);
	if (pd != NULL)
		ibv_dealloc_pd(pd);
	return answer;
}
#else
static enum adv_device_order ask_order(struct ibv_context *context)
{
	(void)context;
	return ADV_ORDER_UNKNOWN;
}
#endif

bool adv_device_in_order(struct ibv_context *context, char *why, size_t size)
{
	struct ibv_device_attr attr = {0};
	bool software = ibv_query_device(context, &attr) == 0 && adv_device_is_software(&attr);
	return adv_device_placement(software, software ? ADV_ORDER_NO : ask_order(context), why,
				    size);
}

static void ask_ports(struct ibv_context *context, struct adv_device_facts *f)
{
	f->nr_ports = f->attr.phys_port_cnt < ADV_DEVICE_PORTS_MAX ? f->attr.phys_port_cnt
								   : ADV_DEVICE_PORTS_MAX;
	for (unsigned i = 0; i < f->nr_ports; i++)
		(void)ibv_query_port(context, (uint8_t)(i + 1), &f->ports[i]);
}

static void ask_gids(struct ibv_context *context, struct adv_device_facts *f)
{
	struct ibv_gid_entry entries[ADV_DEVICE_GIDS_MAX];
	ssize_t n = ibv_query_gid_table(context, entries, ADV_DEVICE_GIDS_MAX, 0);
	for (ssize_t i = 0; i < n; i++) {
		struct adv_device_gid *g = &f->gids[f->nr_gids++];
		*g = (struct adv_device_gid){.gid = entries[i].gid,
					     .index = entries[i].gid_index,
					     .port = entries[i].port_num,
					     .type = entries[i].gid_type};
		if (entries[i].ndev_ifindex == 0 ||
		    if_indextoname(entries[i].ndev_ifindex, g->netdev) == NULL)
			g->netdev[0] = '\0';
	}
}

static uint32_t ask_inline(struct ibv_context *context)
{
	struct ibv_pd *pd = ibv_alloc_pd(context);
	uint32_t found = pd != NULL ? adv_pair_inline(pd) : 0;
	if (pd != NULL)
		ibv_dealloc_pd(pd);
	return found;
}

/* ---- InfiniBand's network interfaces ---- */

/* Which of the device's ports a network interface is on. */
static uint32_t port_of(const char *netdev)
{
	char path[64 + IF_NAMESIZE];
	unsigned port = 0;
	snprintf(path, sizeof(path), "/sys/class/net/%s/dev_port", netdev);
	FILE *file = fopen(path, "re");
	if (file != NULL) {
		if (fscanf(file, "%u", &port) != 1)
			port = 0;
		fclose(file);
	}
	return port + 1;
}

static void add_ipoib(struct adv_device_facts *f, const char *netdev, const struct ifaddrs *list)
{
	uint32_t port = port_of(netdev);
	for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
		if (f->nr_ipoib == ADV_DEVICE_IPOIB_MAX || a->ifa_addr == NULL ||
		    strcmp(a->ifa_name, netdev) != 0)
			continue;
		sa_family_t family = a->ifa_addr->sa_family;
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a->ifa_addr;
		if (family != AF_INET &&
		    (family != AF_INET6 || IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr)))
			continue;
		struct adv_device_ipoib *to = &f->ipoib[f->nr_ipoib++];
		to->port = port;
		snprintf(to->netdev, sizeof(to->netdev), "%s", netdev);
		memcpy(&to->address, a->ifa_addr,
		       family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(*six));
	}
}

static void ask_ipoib(const struct ibv_device *device, struct adv_device_facts *f)
{
	char path[IBV_SYSFS_PATH_MAX + 16];
	struct ifaddrs *list = NULL;
	snprintf(path, sizeof(path), "%s/device/net", device->ibdev_path);
	DIR *directory = opendir(path);
	if (directory == NULL || getifaddrs(&list) < 0)
		list = NULL;
	for (const struct dirent *e; list != NULL && (e = readdir(directory)) != NULL;)
		if (e->d_name[0] != '.' && strlen(e->d_name) < IF_NAMESIZE)
			add_ipoib(f, e->d_name, list);
	if (list != NULL)
		freeifaddrs(list);
	if (directory != NULL)
		closedir(directory);
}

/* ---- where it is ---- */

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (a == NULL || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static int numa_node_of(const char *netdev)
{
	char path[64 + IF_NAMESIZE];
	int node = -1;
	snprintf(path, sizeof(path), "/sys/class/net/%s/device/numa_node", netdev);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return -1;
	if (fscanf(file, "%d", &node) != 1 || node < 0)
		node = -1;
	fclose(file);
	return node;
}

int adv_device_numa_node(const struct sockaddr_storage *address)
{
	struct ifaddrs *list;
	int node = -1;
	if (getifaddrs(&list) < 0)
		return -1;
	for (const struct ifaddrs *a = list; a != NULL && node < 0; a = a->ifa_next)
		if (same_address(a->ifa_addr, address))
			node = numa_node_of(a->ifa_name);
	freeifaddrs(list);
	return node;
}

/* ---- all that is to be known ---- */

static void ask(struct ibv_context *context, struct adv_device_facts *f)
{
	bool ethernet = true;
	int rc = ibv_query_device(context, &f->attr);
	if (rc != 0)
		snprintf(f->trouble, sizeof(f->trouble), "it does not say what it can do: %s",
			 strerror(rc));
	ask_ports(context, f);
	ask_gids(context, f);
	for (unsigned i = 0; i < f->nr_ports; i++)
		ethernet &= f->ports[i].link_layer == IBV_LINK_LAYER_ETHERNET;
	if (!ethernet)
		ask_ipoib(context->device, f);
	/* These two make queue pairs, which another transport need not have. */
	if (adv_device_refusal(f->transport) != NULL)
		return;
	f->max_inline = ask_inline(context);
	f->order = ask_order(context);
}

static void facts_get(struct ibv_device *device, struct adv_device_facts *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->name, sizeof(f->name), "%s", ibv_get_device_name(device));
	f->transport = device->transport_type;
	struct ibv_context *context = ibv_open_device(device);
	if (context != NULL) {
		ask(context, f);
		ibv_close_device(context);
		return;
	}
	int error = errno;
	snprintf(f->trouble, sizeof(f->trouble), "it cannot be opened: %s%s", strerror(error),
		 error == EACCES || error == EPERM
			 ? ": its file below /dev/infiniband must be readable and writable"
			 : "");
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

int adv_devices_get(struct adv_device_facts **out, char *reason, size_t size)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct adv_device_facts *facts =
		list != NULL && n > 0 ? calloc((size_t)n, sizeof(*facts)) : NULL;
	int rc = n;
	if (list == NULL || n == 0) {
		rc = no_devices(reason, size);
	} else if (facts == NULL) {
		snprintf(reason, size, "no memory for %d RDMA devices", n);
		rc = -ENOMEM;
	}
	for (int i = 0; i < rc; i++)
		facts_get(list[i], &facts[i]);
	if (list != NULL)
		ibv_free_device_list(list);
	if (rc > 0)
		*out = facts;
	return rc;
}

static int choose(struct ibv_device *device, uint16_t port, struct sockaddr_storage *to,
		  char *reason, size_t size)
{
	struct adv_device_choice choice;
	struct adv_device_facts *facts = malloc(sizeof(*facts));
	if (facts == NULL) {
		snprintf(reason, size, "no memory");
		return -ENOMEM;
	}
	facts_get(device, facts);
	adv_device_choose(facts, port, &choice);
	free(facts);
	if (choice.usable) {
		*to = choice.address;
		return 0;
	}
	snprintf(reason, size, "the RDMA device %s cannot be used: %s", ibv_get_device_name(device),
		 choice.reason);
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
		rc = choose(found, port, to, reason, size);
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

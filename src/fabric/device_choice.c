/* device_choice.c - which devices and which of their addresses are used, and why not others. Pure functions, any thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fabric/device.h"

#define SOFT_ROCE_VENDOR 0xffffff

/* ---- words ---- */

const char *adv_device_gid_text(const union ibv_gid *gid, char text[ADV_DEVICE_TEXT])
{
	if (inet_ntop(AF_INET6, gid->raw, text, ADV_DEVICE_TEXT) == NULL)
		text[0] = '\0';
	return text;
}

const char *adv_device_address_text(const struct sockaddr_storage *address,
				    char text[ADV_DEVICE_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";
	bool v6 = address->ss_family == AF_INET6;
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	uint16_t port = ntohs(v6 ? six->sin6_port : four->sin_port);
	inet_ntop(address->ss_family, v6 ? (const void *)&six->sin6_addr : &four->sin_addr, host,
		  sizeof(host));
	if (port == 0)
		snprintf(text, ADV_DEVICE_TEXT, "%s", host);
	else
		snprintf(text, ADV_DEVICE_TEXT, v6 ? "[%s]:%u" : "%s:%u", host, port);
	return text;
}

/* ---- devices ---- */

const char *adv_device_refusal(enum ibv_transport_type transport)
{
	if (transport == IBV_TRANSPORT_IB)
		return NULL;
	if (transport == IBV_TRANSPORT_IWARP)
		return "iWARP has no RDMA WRITE WITH IMMEDIATE, which is what a call is";
	return "it is neither RoCE nor InfiniBand";
}

int adv_device_check(const struct ibv_device *device, char *reason, size_t size)
{
	const char *refusal = adv_device_refusal(device->transport_type);
	if (refusal == NULL)
		return 0;
	snprintf(reason, size, "the RDMA device %s cannot be used: %s", device->name, refusal);
	return -EOPNOTSUPP;
}

bool adv_device_is_software(const struct ibv_device_attr *attr)
{
	return attr->vendor_id == SOFT_ROCE_VENDOR;
}

const char *adv_device_kind(const struct adv_device_facts *f)
{
	if (f->transport == IBV_TRANSPORT_IWARP)
		return "iWARP";
	if (f->transport != IBV_TRANSPORT_IB || f->nr_ports == 0)
		return "unknown";
	if (adv_device_is_software(&f->attr))
		return "soft-RoCE";
	return f->ports[0].link_layer == IBV_LINK_LAYER_ETHERNET ? "RoCE" : "InfiniBand";
}

bool adv_device_placement(bool software, enum adv_device_order order, char *why, size_t size)
{
	if (software) {
		snprintf(why, size, "soft-RoCE copies in order");
		return true;
	}
	if (order == ADV_ORDER_UNKNOWN) {
		snprintf(why, size, "this build's libibverbs cannot ask the device");
		return false;
	}
	snprintf(why, size, "the device %s that it places in order",
		 order == ADV_ORDER_YES ? "says" : "does not say");
	return order == ADV_ORDER_YES;
}

/* ---- addresses ---- */

bool adv_device_gid_address(const union ibv_gid *gid, uint16_t port, struct sockaddr_storage *to)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&six.sin6_addr, gid->raw, sizeof(six.sin6_addr));
	if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr))
		return false;
	memset(to, 0, sizeof(*to));
	if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) {
		memcpy(&four.sin_addr, gid->raw + 12, sizeof(four.sin_addr));
		memcpy(to, &four, sizeof(four));
	} else {
		memcpy(to, &six, sizeof(six));
	}
	return true;
}

static bool is_active(const struct adv_device_facts *f, uint32_t port)
{
	return port >= 1 && port <= f->nr_ports && f->ports[port - 1].state == IBV_PORT_ACTIVE;
}

/* The old word for it is "unspecified". */
static bool is_ethernet(const struct adv_device_facts *f, uint32_t port)
{
	return f->ports[port - 1].link_layer == IBV_LINK_LAYER_ETHERNET;
}

static bool choose_gid(const struct adv_device_facts *f, uint16_t port, sa_family_t family,
		       struct adv_device_choice *c)
{
	for (unsigned i = 0; i < f->nr_gids; i++) {
		const struct adv_device_gid *g = &f->gids[i];
		if (g->type != IBV_GID_TYPE_ROCE_V2 || !is_active(f, g->port) ||
		    !adv_device_gid_address(&g->gid, port, &c->address) ||
		    c->address.ss_family != family)
			continue;
		c->gid = g;
		c->port = g->port;
		return true;
	}
	return false;
}

static bool choose_ipoib(const struct adv_device_facts *f, uint16_t port, sa_family_t family,
			 struct adv_device_choice *c)
{
	for (unsigned i = 0; i < f->nr_ipoib; i++) {
		const struct adv_device_ipoib *a = &f->ipoib[i];
		if (a->address.ss_family != family || !is_active(f, a->port) ||
		    is_ethernet(f, a->port))
			continue;
		c->address = a->address;
		if (family == AF_INET6)
			((struct sockaddr_in6 *)&c->address)->sin6_port = htons(port);
		else
			((struct sockaddr_in *)&c->address)->sin_port = htons(port);
		c->port = a->port;
		return true;
	}
	return false;
}

/* There are active ports, and none has an address. */
static void explain_address(const struct adv_device_facts *f, struct adv_device_choice *c)
{
	for (uint32_t port = 1; port <= f->nr_ports; port++) {
		if (!is_active(f, port) || !is_ethernet(f, port))
			continue;
		const char *netdev = "";
		for (unsigned i = 0; i < f->nr_gids && netdev[0] == '\0'; i++)
			if (f->gids[i].port == port)
				netdev = f->gids[i].netdev;
		snprintf(c->reason, sizeof(c->reason),
			 "it has no RoCE v2 address: give its network interface %s%san IP address "
			 "(ip addr add ADDRESS/PREFIX dev %s)",
			 netdev, netdev[0] != '\0' ? " " : "",
			 netdev[0] != '\0' ? netdev : "INTERFACE");
		return;
	}
	snprintf(c->reason, sizeof(c->reason),
		 "InfiniBand is addressed by an IPoIB interface, and it has none with an address: "
		 "modprobe ib_ipoib, then ip addr add ADDRESS/PREFIX dev INTERFACE");
}

static bool any_active(const struct adv_device_facts *f)
{
	for (uint32_t port = 1; port <= f->nr_ports; port++)
		if (is_active(f, port))
			return true;
	return false;
}

void adv_device_choose(const struct adv_device_facts *f, uint16_t port, struct adv_device_choice *c)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6};
	const char *refusal = adv_device_refusal(f->transport);
	memset(c, 0, sizeof(*c));
	if (refusal != NULL || f->trouble[0] != '\0') {
		snprintf(c->reason, sizeof(c->reason), "%s",
			 refusal != NULL ? refusal : f->trouble);
		return;
	}
	c->in_order = adv_device_placement(adv_device_is_software(&f->attr), f->order,
					   c->placement_why, sizeof(c->placement_why));
	for (unsigned i = 0; i < 2 && !c->usable; i++)
		c->usable = choose_gid(f, port, families[i], c) ||
			    choose_ipoib(f, port, families[i], c);
	if (c->usable)
		return;
	memset(&c->address, 0, sizeof(c->address));
	if (any_active(f))
		explain_address(f, c);
	else
		snprintf(c->reason, sizeof(c->reason),
			 "it has no active port: look at its cable, and set its network interface "
			 "up (ip link set INTERFACE up; for InfiniBand a subnet manager must run)");
}

const char *adv_device_gid_remark(const struct adv_device_facts *f,
				  const struct adv_device_choice *c, const struct adv_device_gid *g)
{
	struct sockaddr_storage address;
	if (g == c->gid)
		return "";
	if (adv_device_refusal(f->transport) != NULL)
		return "not this transport";
	if (!is_active(f, g->port))
		return "its port is not active";
	if (g->type == IBV_GID_TYPE_IB)
		return "InfiniBand: by the address of an IPoIB interface";
	if (g->type != IBV_GID_TYPE_ROCE_V2)
		return "RoCE v1";
	if (!adv_device_gid_address(&g->gid, 0, &address))
		return "link-local: no address to listen on";
	return address.ss_family == AF_INET6 && c->address.ss_family == AF_INET
		       ? "IPv4 goes before IPv6"
		       : "the first is taken";
}

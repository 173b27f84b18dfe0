/* devices.c - adverb devices: this machine's RDMA devices, what Adverb would use of them, and why not the rest. Main thread. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

#if ADV_HAVE_VERBS

#include "fabric/device.h"
#include "util/limits.h"

/* ---- words ---- */

static const char *state_name(enum ibv_port_state state)
{
	static const char *const names[] = {"nop", "down", "init", "armed", "active", "defer"};
	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static const char *layer_name(uint8_t layer)
{
	return layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "InfiniBand";
}

static unsigned mtu_bytes(enum ibv_mtu mtu)
{
	return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

static const char *atomics_name(enum ibv_atomic_cap cap)
{
	return cap == IBV_ATOMIC_GLOB  ? "global"
	       : cap == IBV_ATOMIC_HCA ? "within the device"
				       : "none";
}

static const char *gid_kind(uint32_t type)
{
	return type == IBV_GID_TYPE_ROCE_V2   ? "RoCE v2"
	       : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
					      : "InfiniBand";
}

static const char *placement_name(const struct adv_device_choice *c)
{
	return c->in_order ? "memory" : "immediate";
}

/* ---- as JSON ---- */

static json_t *gid_json(const struct adv_device_facts *f, const struct adv_device_choice *c,
			const struct adv_device_gid *g)
{
	struct sockaddr_storage address;
	char gid[ADV_DEVICE_TEXT], text[ADV_DEVICE_TEXT];
	bool has = g->type != IBV_GID_TYPE_IB && adv_device_gid_address(&g->gid, 0, &address);
	return json_pack("{s:I, s:s, s:s, s:s*, s:s*, s:b, s:s*}", "index", (json_int_t)g->index,
			 "gid", adv_device_gid_text(&g->gid, gid), "type", gid_kind(g->type),
			 "address", has ? adv_device_address_text(&address, text) : NULL, "netdev",
			 g->netdev[0] != '\0' ? g->netdev : NULL, "used", g == c->gid, "why_not",
			 g == c->gid ? NULL : adv_device_gid_remark(f, c, g));
}

static json_t *port_json(const struct adv_device_facts *f, const struct adv_device_choice *c,
			 uint32_t port)
{
	const struct ibv_port_attr *p = &f->ports[port - 1];
	char text[ADV_DEVICE_TEXT];
	json_t *gids = json_array(), *ipoib = json_array();
	for (unsigned i = 0; i < f->nr_gids; i++)
		if (f->gids[i].port == port)
			json_array_append_new(gids, gid_json(f, c, &f->gids[i]));
	for (unsigned i = 0; i < f->nr_ipoib; i++)
		if (f->ipoib[i].port == port)
			json_array_append_new(
				ipoib,
				json_pack("{s:s, s:s}", "netdev", f->ipoib[i].netdev, "address",
					  adv_device_address_text(&f->ipoib[i].address, text)));
	return json_pack("{s:I, s:s, s:s, s:I, s:I, s:o, s:o}", "number", (json_int_t)port, "state",
			 state_name(p->state), "link_layer", layer_name(p->link_layer), "mtu",
			 (json_int_t)mtu_bytes(p->active_mtu), "max_mtu",
			 (json_int_t)mtu_bytes(p->max_mtu), "gids", gids, "ipoib", ipoib);
}

static json_t *device_json(const struct adv_device_facts *f, const struct adv_device_choice *c)
{
	char text[ADV_DEVICE_TEXT];
	json_t *ports = json_array();
	for (uint32_t port = 1; port <= f->nr_ports; port++)
		json_array_append_new(ports, port_json(f, c, port));
	json_t *o = json_pack(
		"{s:s, s:s, s:b, s:I, s:s, s:I, s:s, s:I, s:I, s:I, s:o, s:b}", "name", f->name,
		"kind", adv_device_kind(f), "software", (int)adv_device_is_software(&f->attr),
		"vendor_id", (json_int_t)f->attr.vendor_id, "firmware", f->attr.fw_ver,
		"max_inline", (json_int_t)f->max_inline, "atomics",
		atomics_name(f->attr.atomic_cap), "max_qp", (json_int_t)f->attr.max_qp, "max_qp_wr",
		(json_int_t)f->attr.max_qp_wr, "max_mr", (json_int_t)f->attr.max_mr, "ports", ports,
		"usable", (int)c->usable);
	if (!c->usable) {
		json_object_set_new(o, "why_not", json_string(c->reason));
		return o;
	}
	json_object_set_new(o, "address", json_string(adv_device_address_text(&c->address, text)));
	json_object_set_new(o, "port", json_integer(c->port));
	json_object_set_new(o, "placement", json_string(placement_name(c)));
	json_object_set_new(o, "placement_why", json_string(c->placement_why));
	if (c->gid != NULL)
		json_object_set_new(o, "gid", json_string(adv_device_gid_text(&c->gid->gid, text)));
	return o;
}

/* ---- for people ---- */

static void print_port(const struct adv_device_facts *f, const struct adv_device_choice *c,
		       uint32_t port)
{
	const struct ibv_port_attr *p = &f->ports[port - 1];
	char text[ADV_DEVICE_TEXT];
	printf("  port %-2u  %s, %s, MTU %u of %u\n", port, state_name(p->state),
	       layer_name(p->link_layer), mtu_bytes(p->active_mtu), mtu_bytes(p->max_mtu));
	for (unsigned i = 0; i < f->nr_gids; i++) {
		const struct adv_device_gid *g = &f->gids[i];
		if (g->port == port)
			printf("    GID %-3u %-10s %-26s %-10s %s%s\n", g->index, gid_kind(g->type),
			       adv_device_gid_text(&g->gid, text), g->netdev,
			       g == c->gid ? "used" : "not used: ", adv_device_gid_remark(f, c, g));
	}
	for (unsigned i = 0; i < f->nr_ipoib; i++)
		if (f->ipoib[i].port == port)
			printf("    IPoIB   %-37s %s\n",
			       adv_device_address_text(&f->ipoib[i].address, text),
			       f->ipoib[i].netdev);
}

static void print_device(const struct adv_device_facts *f, const struct adv_device_choice *c)
{
	char text[ADV_DEVICE_TEXT];
	bool firmware = !adv_device_is_software(&f->attr) && f->attr.fw_ver[0] != '\0';
	printf("%-10s %s%s%s; sends up to %u bytes inline; atomics: %s\n", f->name,
	       adv_device_kind(f), firmware ? ", firmware " : "", firmware ? f->attr.fw_ver : "",
	       f->max_inline, atomics_name(f->attr.atomic_cap));
	for (uint32_t port = 1; port <= f->nr_ports; port++)
		print_port(f, c, port);
	if (!c->usable) {
		printf("  not used: %s\n", c->reason);
		return;
	}
	printf("  used by `adverb serve --verbs %s`: listens on %s; placement %s (%s)\n", f->name,
	       adv_device_address_text(&c->address, text), placement_name(c), c->placement_why);
}

/* ---- the command ---- */

static int show(const struct adv_device_facts *facts, unsigned nr, bool json)
{
	json_t *devices = json_array();
	for (unsigned i = 0; i < nr; i++) {
		struct adv_device_choice choice;
		adv_device_choose(&facts[i], ADV_VERBS_PORT_DEFAULT, &choice);
		if (json)
			json_array_append_new(devices, device_json(&facts[i], &choice));
		else
			print_device(&facts[i], &choice);
	}
	if (json)
		return cli_print_json(json_pack("{s:o}", "devices", devices));
	json_decref(devices);
	return EXIT_SUCCESS;
}

static int list_devices(bool json)
{
	char reason[512];
	struct adv_device_facts *facts;
	int nr = adv_devices_get(&facts, reason, sizeof(reason));
	if (nr < 0)
		return cli_error("devices: %s", reason);
	int rc = show(facts, (unsigned)nr, json);
	free(facts);
	return rc;
}

#else

static int list_devices(bool json)
{
	(void)json;
	return cli_error("devices: this adverb was built without libibverbs and librdmacm");
}

#endif

int cli_devices(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	return list_devices(common.json);
}

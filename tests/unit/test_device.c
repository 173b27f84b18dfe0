/* Which RDMA device is used, at which address, and why not another: by what devices say, filled in by hand. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fabric/device.h"

static struct adv_device_facts facts;
static struct adv_device_choice choice;

/* A RoCE card with that many active ports and no GID. */
static void roce(unsigned nr_ports)
{
	memset(&facts, 0, sizeof(facts));
	strcpy(facts.name, "card0");
	facts.transport = IBV_TRANSPORT_IB;
	facts.attr.vendor_id = 0x2c9;
	facts.order = ADV_ORDER_YES;
	facts.nr_ports = nr_ports;
	for (unsigned i = 0; i < nr_ports; i++) {
		facts.ports[i].state = IBV_PORT_ACTIVE;
		facts.ports[i].link_layer = IBV_LINK_LAYER_ETHERNET;
	}
}

static struct adv_device_gid *add_gid(uint32_t port, enum ibv_gid_type type, const char *text)
{
	struct adv_device_gid *g = &facts.gids[facts.nr_gids];
	g->index = facts.nr_gids++;
	g->port = port;
	g->type = type;
	strcpy(g->netdev, "eth7");
	cr_assert_eq(inet_pton(AF_INET6, text, g->gid.raw), 1);
	return g;
}

static void add_ipoib(uint32_t port, const char *text)
{
	struct adv_device_ipoib *a = &facts.ipoib[facts.nr_ipoib++];
	struct sockaddr_in *four = (struct sockaddr_in *)&a->address;
	a->port = port;
	four->sin_family = AF_INET;
	cr_assert_eq(inet_pton(AF_INET, text, &four->sin_addr), 1);
}

/* "" when it is not to be used. */
static const char *address(void)
{
	static char text[ADV_DEVICE_TEXT];
	adv_device_choose(&facts, 7340, &choice);
	return choice.usable ? adv_device_address_text(&choice.address, text) : "";
}

static const char *remark(const struct adv_device_gid *g)
{
	return adv_device_gid_remark(&facts, &choice, g);
}

Test(device, the_first_v2_gid_with_an_address)
{
	roce(1);
	struct adv_device_gid *link_local = add_gid(1, IBV_GID_TYPE_ROCE_V2, "fe80::1");
	struct adv_device_gid *v1 = add_gid(1, IBV_GID_TYPE_ROCE_V1, "::ffff:10.0.0.1");
	struct adv_device_gid *v2 = add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	struct adv_device_gid *later = add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.9");
	cr_assert_str_eq(address(), "10.0.0.1:7340");
	cr_assert_eq(choice.gid, v2);
	cr_assert_eq(choice.port, 1);
	cr_assert_str_eq(remark(v2), "");
	cr_assert_str_eq(remark(v1), "RoCE v1");
	cr_assert(strstr(remark(link_local), "link-local") != NULL);
	cr_assert_str_eq(remark(later), "the first is taken");
}

Test(device, v4_goes_before_v6)
{
	roce(1);
	struct adv_device_gid *six = add_gid(1, IBV_GID_TYPE_ROCE_V2, "2001:db8::5");
	cr_assert_str_eq(address(), "[2001:db8::5]:7340");
	add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	cr_assert_str_eq(address(), "10.0.0.1:7340");
	cr_assert(strstr(remark(six), "IPv4") != NULL);
}

Test(device, a_port_that_is_down_has_no_address)
{
	roce(2);
	struct adv_device_gid *down = add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	add_gid(2, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.1.1");
	facts.ports[0].state = IBV_PORT_DOWN;
	cr_assert_str_eq(address(), "10.0.1.1:7340");
	cr_assert_eq(choice.port, 2);
	cr_assert(strstr(remark(down), "not active") != NULL);
	facts.ports[1].state = IBV_PORT_INIT;
	cr_assert_str_eq(address(), "");
	cr_assert(strstr(choice.reason, "no active port") != NULL, "%s", choice.reason);
}

Test(device, gids_of_ports_that_are_not_there)
{
	roce(1);
	add_gid(0, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	add_gid(2, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.2");
	cr_assert_str_eq(address(), "");
}

Test(device, roce_without_an_address)
{
	roce(1);
	add_gid(1, IBV_GID_TYPE_ROCE_V1, "fe80::1");
	add_gid(1, IBV_GID_TYPE_ROCE_V2, "fe80::1");
	cr_assert_str_eq(address(), "");
	cr_assert(strstr(choice.reason, "no RoCE v2 address") != NULL, "%s", choice.reason);
	cr_assert(strstr(choice.reason, "eth7") != NULL, "it names the interface: %s",
		  choice.reason);
}

Test(device, infiniband_goes_by_ipoib)
{
	roce(2);
	facts.ports[0].link_layer = IBV_LINK_LAYER_INFINIBAND;
	facts.ports[1].link_layer = IBV_LINK_LAYER_UNSPECIFIED;
	struct adv_device_gid *gid = add_gid(1, IBV_GID_TYPE_IB, "fe80::2:c903:0:1");
	cr_assert_str_eq(address(), "");
	cr_assert(strstr(choice.reason, "IPoIB") != NULL, "%s", choice.reason);
	add_ipoib(2, "192.168.5.2");
	cr_assert_str_eq(address(), "192.168.5.2:7340");
	cr_assert_eq(choice.gid, NULL);
	cr_assert_eq(choice.port, 2);
	cr_assert(strstr(remark(gid), "IPoIB") != NULL);
	facts.ports[1].state = IBV_PORT_DOWN;
	cr_assert_str_eq(address(), "");
}

Test(device, iwarp_is_refused_everywhere)
{
	char reason[256];
	struct ibv_device device = {.transport_type = IBV_TRANSPORT_IWARP, .name = "siw0"};
	roce(1);
	add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	facts.transport = IBV_TRANSPORT_IWARP;
	cr_assert_str_eq(address(), "");
	cr_assert(strstr(choice.reason, "iWARP has no RDMA WRITE WITH IMMEDIATE") != NULL);
	cr_assert_eq(adv_device_check(&device, reason, sizeof(reason)), -EOPNOTSUPP);
	cr_assert(strstr(reason, "siw0") != NULL && strstr(reason, choice.reason) != NULL);
	cr_assert_str_eq(adv_device_kind(&facts), "iWARP");
	device.transport_type = IBV_TRANSPORT_IB;
	cr_assert_eq(adv_device_check(&device, reason, sizeof(reason)), 0);
	device.transport_type = IBV_TRANSPORT_USNIC_UDP;
	cr_assert_eq(adv_device_check(&device, reason, sizeof(reason)), -EOPNOTSUPP);
}

Test(device, what_could_not_be_asked_is_said)
{
	roce(1);
	add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	strcpy(facts.trouble, "it cannot be opened: Permission denied");
	cr_assert_str_eq(address(), "");
	cr_assert_str_eq(choice.reason, facts.trouble);
}

Test(device, placement)
{
	char why[128];
	cr_assert(adv_device_placement(true, ADV_ORDER_NO, why, sizeof(why)));
	cr_assert(strstr(why, "soft-RoCE") != NULL);
	cr_assert(adv_device_placement(false, ADV_ORDER_YES, why, sizeof(why)));
	cr_assert(strstr(why, "does not") == NULL);
	cr_assert_not(adv_device_placement(false, ADV_ORDER_NO, why, sizeof(why)));
	cr_assert(strstr(why, "does not say") != NULL);
	cr_assert_not(adv_device_placement(false, ADV_ORDER_UNKNOWN, why, sizeof(why)));
	cr_assert(strstr(why, "cannot ask") != NULL);
}

Test(device, software_places_in_order_and_says_what_it_is)
{
	roce(1);
	facts.attr.vendor_id = 0xffffff;
	facts.order = ADV_ORDER_NO;
	add_gid(1, IBV_GID_TYPE_ROCE_V2, "::ffff:10.0.0.1");
	address();
	cr_assert(choice.usable && choice.in_order);
	cr_assert_str_eq(adv_device_kind(&facts), "soft-RoCE");
}

Test(device, texts)
{
	char text[ADV_DEVICE_TEXT];
	union ibv_gid gid;
	struct sockaddr_storage to;
	inet_pton(AF_INET6, "::ffff:10.77.0.2", gid.raw);
	cr_assert_str_eq(adv_device_gid_text(&gid, text), "::ffff:10.77.0.2");
	cr_assert(adv_device_gid_address(&gid, 0, &to));
	cr_assert_str_eq(adv_device_address_text(&to, text), "10.77.0.2");
	memset(&gid, 0, sizeof(gid));
	cr_assert_not(adv_device_gid_address(&gid, 1, &to));
}

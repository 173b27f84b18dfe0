/*
 * test_verbs_open.c - opening and closing a lease over verbs, the client's side: any call of libibverbs and librdmacm fails, any event
 * is another one, grants are hostile; links rest and are used again. Whatever is left behind ends the program.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "verbs_rig.h"

static struct rig rig;

static unsigned open_files(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	cr_assert_not_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* One call, there and back. */
static void call(void)
{
	struct adv_completion c;
	uint8_t in[100], out[100] = {0};
	memset(in, 0x5a, sizeof(in));
	cr_assert_eq(rig_client_submit(&rig, 0, in, sizeof(in), out, 1), ADV_OK);
	rig_settle(&rig);
	cr_assert_eq(rig_client_poll(&rig, &c, 1), 1);
	cr_assert_eq(c.status, ADV_OK);
	cr_assert_arr_eq(in, out, sizeof(in));
}

static void unmake(void)
{
	rig_unmake(&rig);
}

TestSuite(verbs_open, .timeout = 60);

/* The same with a device that needs and gives everything, and with one that gives nothing. */
static struct rig_options poor(void)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 3;
	o.device.max_inline = 0;
	o.device.in_order = false;
	o.landing = true;
	return o;
}

Test(verbs_open, a_call_and_the_end)
{
	struct rig_options options[2] = {RIG_DEFAULTS, poor()};
	unsigned files = open_files();
	for (int i = 0; i < 2; i++) {
		rig_make(&rig, &options[i]);
		cr_assert_eq(rig.hello.lease, RIG_LEASE);
		cr_assert_eq(rig.hello.counter, 1);
		cr_assert_eq(rig.hello.flags, 0);
		cr_assert_eq(rig.lease->verbs->hand_over, i == 1);
		call();
		unmake();
	}
	cr_assert_eq(open_files(), files);
}

/* ---- what fails ---- */

/* A status, a sentence, and nothing left. */
static void fails_well(enum adv_status status, uint64_t n)
{
	cr_assert(status == ADV_SYSTEM || status == ADV_TIMEOUT || status == ADV_FORBIDDEN ||
			  status == ADV_PROTOCOL,
		  "%lu: %s", n, adv_status_name(status));
	cr_assert_gt(strlen(adv_error()), 10, "%lu: no reason: \"%s\"", n, adv_error());
}

/* The handle's own, where it does not fail; `handle`: what is asked for then may fail, too. */
static void make_handle(const struct rig_options *o, bool handle)
{
	rig_make_node(&rig, o);
	if (!handle)
		cr_assert_eq(rig_open_handle(&rig), ADV_OK);
}

static void every_call_fails_once(bool handle, uint64_t at_least)
{
	const int errors[] = {ENOMEM, EINVAL, ENODEV};
	unsigned files = open_files();
	for (int e = 0; e < 6; e++) {
		struct rig_options options[2] = {RIG_DEFAULTS, poor()};
		uint64_t nr_failed = 0;
		for (uint64_t n = 1;; n++) {
			make_handle(&options[e % 2], handle);
			fake_fail_nth(rig.device, n, errors[e / 2]);
			enum adv_status status = rig_open(&rig);
			bool had = fake_has_failed(rig.device);
			fake_fail_nth(rig.device, 0, 0);
			if (status != ADV_OK)
				fails_well(status, n);
			else
				call(); /* some calls can be done without */
			nr_failed += status != ADV_OK;
			unmake();
			if (!had)
				break;
		}
		cr_assert_geq(nr_failed, at_least, "%lu", nr_failed);
	}
	cr_assert_eq(open_files(), files);
}

static void every_event_is_another_one(bool handle, unsigned nr)
{
	const enum rdma_cm_event_type types[] = {
		RDMA_CM_EVENT_ADDR_ERROR,    RDMA_CM_EVENT_ROUTE_ERROR,
		RDMA_CM_EVENT_CONNECT_ERROR, RDMA_CM_EVENT_UNREACHABLE,
		RDMA_CM_EVENT_REJECTED,	     RDMA_CM_EVENT_DEVICE_REMOVAL,
		RDMA_CM_EVENT_TIMEWAIT_EXIT, RDMA_CM_EVENT_ADDR_CHANGE,
		RDMA_CM_EVENT_DISCONNECTED,  RDMA_CM_EVENT_CONNECT_REQUEST};
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
		for (unsigned n = 1; n <= nr + 1; n++) {
			make_handle(NULL, handle);
			fake_setup_event(n, types[t], -ETIMEDOUT);
			enum adv_status status = rig_open(&rig);
			bool came = fake_setup_event(0, types[t], 0);
			cr_assert_eq(came, n <= nr);
			cr_assert_eq(status != ADV_OK, came);
			if (came)
				fails_well(status, n);
			if (came && types[t] == RDMA_CM_EVENT_REJECTED)
				cr_assert_eq(status, ADV_FORBIDDEN);
			unmake();
		}
}

static void no_event_comes(bool handle)
{
	make_handle(NULL, handle);
	fake_setup_silent(true);
	rig.deadline_ns = 1; /* long ago */
	cr_assert_eq(rig_open(&rig), ADV_TIMEOUT);
	cr_assert(strstr(adv_error(), "in time"), "%s", adv_error());
	fake_setup_silent(false);
	unmake();
}

Test(verbs_open, every_call_of_a_lease_fails_once)
{
	every_call_fails_once(false, 11);
}

Test(verbs_open, every_event_of_a_lease_is_another_one)
{
	every_event_is_another_one(false, 3);
}

Test(verbs_open, no_event_of_a_lease_comes)
{
	no_event_comes(false);
}

Test(verbs_open, every_call_of_a_handle_fails_once)
{
	every_call_fails_once(true, 15);
}

Test(verbs_open, every_event_of_a_handle_is_another_one)
{
	every_event_is_another_one(true, 4);
}

Test(verbs_open, no_event_of_a_handle_comes)
{
	no_event_comes(true);
}

Test(verbs_open, a_refused_connection_says_why)
{
	rig_make_node(&rig, NULL);
	rig.refusal = "no \x1b[31mlease here, or not its token";
	cr_assert_eq(rig_open(&rig), ADV_FORBIDDEN);
	cr_assert(strstr(adv_error(), "lease here, or not its token"), "%s", adv_error());
	cr_assert_null(strchr(adv_error(), 0x1b), "a terminal's code");
	unmake();
}

Test(verbs_open, no_device_says_what_to_load)
{
	struct adv_address a = {.kind = ADV_ADDRESS_VERBS, .host = "127.0.0.1", .port = "7340"};
	struct adv_verbs_node *node = NULL;
	cr_assert_eq(adv_verbs_node_create(&a, UINT64_MAX, &node), ADV_SYSTEM);
	cr_assert(strstr(adv_error(), "rdma_rxe"), "%s", adv_error());
	cr_assert_null(node);
}

/* Receives that the device is too short for are not there to be posted. */
Test(verbs_open, a_device_with_short_queues)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.max_wr = 16;
	rig_make(&rig, &o);
	cr_assert_eq(rig.lease->verbs->link->pair.recv_depth, 16);
	cr_assert_eq(rig.lease->verbs->link->pair.send_depth, 16);
	for (int i = 0; i < 100; i++)
		call();
	unmake();
}

/* ---- hostile grants ---- */

static void refuses(json_t *grant, const char *what)
{
	rig_make_node(&rig, NULL);
	rig.grant = grant;
	cr_assert_eq(rig_open(&rig), ADV_PROTOCOL, "%s", what);
	unmake();
}

Test(verbs_open, grants_that_lack_something)
{
	static const char *const names[] = {"req_rkey", "input_rkeys", "link", "tag"};
	rig_make_node(&rig, NULL);
	json_t *good = rig_grant(&rig);
	unmake();
	refuses(json_object(), "nothing");
	refuses(json_pack("{s:[]}", "verbs"), "a list");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *bad = json_deep_copy(good);
		json_object_del(json_object_get(bad, "verbs"), names[i]);
		refuses(bad, names[i]);
		bad = json_deep_copy(good);
		json_object_set_new(json_object_get(bad, "verbs"), names[i], json_string("1"));
		refuses(bad, names[i]);
		bad = json_deep_copy(good);
		json_object_set_new(json_object_get(bad, "verbs"), names[i], json_integer(-1));
		refuses(bad, names[i]);
		bad = json_deep_copy(good);
		json_object_set_new(json_object_get(bad, "verbs"), names[i],
				    json_integer(INT64_C(1) << 32));
		refuses(bad, names[i]);
	}
	json_decref(good);
}

Test(verbs_open, grants_of_something_else)
{
	rig_make_node(&rig, NULL);
	json_t *good = rig_grant(&rig);
	unmake();
	json_t *bad = json_deep_copy(good), *verbs = json_object_get(bad, "verbs");
	json_object_set_new(verbs, "tag", json_integer(64));
	refuses(bad, "a tag that does not fit");
	bad = json_deep_copy(good), verbs = json_object_get(bad, "verbs");
	json_object_set_new(verbs, "link", json_integer(9));
	refuses(bad, "a link that was not offered");
	bad = json_deep_copy(good), verbs = json_object_get(bad, "verbs");
	json_array_append_new(json_object_get(verbs, "input_rkeys"), json_integer(1));
	refuses(bad, "keys for more lanes");
	bad = json_deep_copy(good), verbs = json_object_get(bad, "verbs");
	json_array_set_new(json_object_get(verbs, "input_rkeys"), 0, json_real(1.5));
	refuses(bad, "a key that is none");
	json_decref(good);
}

/* ---- links at rest ---- */

/* The lease ends well: the client says that it writes no more, the node has heard it and lets the link be. */
static void end_well(void)
{
	adv_verbs_lease_quiet(rig.lease);
	rig_settle(&rig);
	cr_assert(rig.relay.quiet);
	rig_close(&rig, true);
}

Test(verbs_open, a_link_rests_and_carries_the_next_lease)
{
	rig_make(&rig, NULL);
	call();
	const struct ibv_qp *qp = rig_client_qp(&rig);
	end_well();
	for (int i = 0; i < 70; i++) { /* tags go round at 64 */
		rig_renew(&rig);
		cr_assert_eq(rig_open(&rig), ADV_OK, "%s", adv_error());
		cr_assert_eq(rig_client_qp(&rig), qp);
		call();
		end_well();
	}
	unmake();
}

Test(verbs_open, a_link_that_has_not_ended_well_does_not_rest)
{
	rig_make(&rig, NULL);
	call();
	rig_close(&rig, true);
	cr_assert_null(rig.node.verbs->resting, "it was not quiet");
	adv_verbs_node_destroy(rig.node.verbs);
	rig.node.verbs = NULL;
	unmake();
	rig_make(&rig, NULL);
	adv_verbs_lease_quiet(rig.lease);
	rig_close(&rig, false);
	cr_assert_null(rig.node.verbs->resting, "the node has not said that it is over");
	unmake();
	rig_make(&rig, NULL);
	adv_verbs_lease_quiet(rig.lease);
	fake_break(rig_client_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	rig_close(&rig, true);
	cr_assert_null(rig.node.verbs->resting, "it is broken");
	unmake();
}

/* It has too few receives for what comes; the node does not know it any more. */
Test(verbs_open, a_link_that_does_not_fit_is_made_anew)
{
	rig_make(&rig, NULL);
	end_well();
	cr_assert_null(adv_verbs_link_take(rig.node.verbs, 1025 + ADV_LINK_RECV_SLACK));
	struct adv_verbs_link *l = adv_verbs_link_take(rig.node.verbs, 1024);
	cr_assert_not_null(l);
	cr_assert_null(adv_verbs_link_take(rig.node.verbs, 1));
	adv_verbs_link_rest(rig.node.verbs, l);
	rig.number = 2; /* the node offers another one, which makes this one's peer a new one */
	adv_pair_destroy(&rig.pair);
	unmake();
}

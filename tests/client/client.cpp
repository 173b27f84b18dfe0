/*
 * client.cpp - the public headers in C++17, and what libadverb says when something is not right: every wrong argument has a status and
 * a text, and none of them needs a node. TAP.
 */
#include <adverb/client.h>
#include <adverb/function.h>
#include <cstdio>
#include <cstring>
#include <string>

static int number, failures;

static void check(bool good, const char *name)
{
	failures += !good;
	std::printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
}

/* A status that is not ADV_OK has a text of its own. */
static void refused(enum adv_status status, enum adv_status expected, const char *word,
		    const char *name)
{
	bool good = status == expected && std::strstr(adv_error(), word) != nullptr;
	if (!good)
		std::printf("# %s: %s\n", adv_status_name(status), adv_error());
	check(good, name);
}

static uint32_t twice(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	const std::string text(static_cast<const char *>(in), in_size);
	return adv_reply(ctx, out, (text + text).data(), 2 * in_size);
}
ADV_FUNCTION(twice, "its input, twice");

static void functions()
{
	char out[8];
	struct adv_context ctx = {};
	ctx.size = sizeof(ctx);
	ctx.out_capacity = sizeof(out);
	check(adv_function__twice.abi == ADV_FUNCTION_ABI &&
		      std::strcmp(adv_function__twice.name, "twice") == 0,
	      "ADV_FUNCTION() in C++");
	check(adv_function__twice.run(&ctx, "abc", 3, out) == 6 &&
		      std::memcmp(out, "abcabc", 6) == 0,
	      "a described function");
	check(adv_function__twice.run(&ctx, "abcde", 5, out) == 10,
	      "a size beyond the capacity is returned, not written");
	check(adv_fail(&ctx, out, "%d", 7) == (ADV_FAILED | 1) && out[0] == '7', "adv_fail()");
}

static void statuses()
{
	bool all = true;
#define STATUS(name, n, text)                                         \
	all = all && std::strcmp(adv_status_text(name), text) == 0 && \
	      adv_status_from_name(adv_status_name(name)) == n;
	ADV_STATUS_LIST(STATUS)
#undef STATUS
	check(all, "every status has its text and its name");
	check(adv_status_from_name("nonsense") == -1, "and nonsense has none");
}

static void arguments()
{
	struct adv_node *node = nullptr;
	struct adv_lease *lease = nullptr;
	refused(adv_connect("unix:/nonexistent/adverb.sock", &node), ADV_NO_NODE, "/nonexistent",
		"no node");
	refused(adv_connect("smoke://host:1", &node), ADV_INVALID, "verbs://HOST:PORT",
		"another fabric");
	refused(adv_connect("unix:", &node), ADV_INVALID, "path", "no path");
	refused(adv_connect(("unix:" + std::string(200, 'x')).c_str(), &node), ADV_INVALID, "path",
		"a path that no socket has");
	refused(adv_connect("/etc/passwd", &node), ADV_NO_NODE, "/etc/passwd", "not a socket");
	refused(adv_connect(nullptr, nullptr), ADV_INVALID, "NULL", "adv_connect(NULL)");
	refused(adv_lease_open(nullptr, "m", nullptr, &lease), ADV_INVALID, "NULL",
		"adv_lease_open() without a node");
	refused(adv_deploy(nullptr, "m", "f", 0), ADV_INVALID, "node",
		"adv_deploy() without a node");
	adv_disconnect(nullptr);
	adv_lease_close(nullptr);
	check(node == nullptr && lease == nullptr, "nothing is returned on failure");
}

static void options()
{
	struct adv_lease_options o;
	adv_lease_options_init(&o);
	check(o.size == sizeof(o) && o.workers == 1 && o.slots > 0 && o.hot_us == ADV_HOT_DEFAULT,
	      "the defaults of a lease");
	check(std::strlen(adv_version()) > 0, "adv_version()");
}

int main()
{
	functions();
	statuses();
	arguments();
	options();
	std::printf("1..%d\n", number);
	return failures != 0;
}

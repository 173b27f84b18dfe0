/* test_config.c - the configuration: defaults, file, options, in that order; and what is refused, with its place named. */
#include "scratch.h"

#include "node/config.h"
#include "util/limits.h"

TestSuite(config, .init = scratch_make, .fini = scratch_remove);

static struct adv_config config;
static char reason[512];

static int parse(const char *text, char **options, int nr_options)
{
	char *argv[16] = {"serve", "--config"};
	scratch_write("adverb.conf", text, strlen(text));
	argv[2] = (char *)scratch_path("adverb.conf");
	for (int i = 0; i < nr_options; i++)
		argv[3 + i] = options[i];
	reason[0] = '\0';
	return adv_config_parse(3 + nr_options, argv, &config, reason, sizeof(reason));
}

static void accepted(const char *text)
{
	cr_assert_eq(parse(text, NULL, 0), 0, "%s", reason);
}

/* Refused; each of the words is in the reason. */
static void refused(const char *text, const char *where, const char *what)
{
	cr_assert_lt(parse(text, NULL, 0), 0, "\"%s\" was accepted", text);
	cr_assert_not_null(strstr(reason, where), "\"%s\" is not in: %s", where, reason);
	cr_assert_not_null(strstr(reason, what), "\"%s\" is not in: %s", what, reason);
}

Test(config, every_key)
{
	accepted("[node]\nstate = /s\nlisten = unix:/l.sock\n"
		 "[pool]\ncold = 7\nhot = 3\nhot_modules = 5\nmax_sandboxes = 77\n"
		 "[cores]\nworkers = 0\noversubscribe = turns\n"
		 "[leases]\nmax = 5\nmemory = 3GiB\nstop_grace = 250ms\n"
		 "[sandbox]\nlibraries = libz.so.1\n[log]\nlevel = debug\n");
	cr_assert_str_eq(config.state_dir, "/s");
	cr_assert_str_eq(config.listen_path, "/l.sock");
	cr_assert_eq(config.pool_cold, 7);
	cr_assert_eq(config.pool_hot, 3);
	cr_assert_eq(config.pool_hot_modules, 5);
	cr_assert_eq(config.max_sandboxes, 77);
	cr_assert_str_eq(config.worker_cpus, "0");
	cr_assert_eq(config.oversubscribe, ADV_OVERSUBSCRIBE_TURNS);
	cr_assert_eq(config.max_leases, 5);
	cr_assert_eq(config.memory_bytes, 3 * ADV_GIB);
	cr_assert_eq(config.stop_grace_ns, 250 * ADV_MS);
	cr_assert_eq(config.log_level, ADV_LOG_DEBUG);
}

Test(config, an_empty_file_is_the_defaults)
{
	accepted("");
	cr_assert_gt(config.max_sandboxes, 0);
	cr_assert_gt(config.memory_bytes, 0);
	for (int i = 0; i < ADV_CONFIG_KEYS; i++)
		cr_assert_eq(config.source[i], ADV_CONFIG_DEFAULT);
}

Test(config, options_win)
{
	char *options[] = {"--pool-cold", "2", "--state=/other"};
	cr_assert_eq(parse("[pool]\ncold = 7\n[node]\nstate = /s\n", options, 3), 0, "%s", reason);
	cr_assert_eq(config.pool_cold, 2);
	cr_assert_str_eq(config.state_dir, "/other");
}

Test(config, comments_and_blanks)
{
	accepted("; a comment\n\n[pool]\n; cold = 1\ncold=6 ; behind it\n");
	cr_assert_eq(config.pool_cold, 6);
}

Test(config, unknown_names_are_errors)
{
	refused("[pool]\ncolt = 1\n", ":2", "colt");
	refused("\n[poll]\ncold = 1\n", ":3", "cold");
	refused("cold = 1\n", ":1", "cold");
}

Test(config, bad_values_name_file_line_and_key)
{
	refused("[pool]\ncold = many\n", "adverb.conf:2", "cold");
	refused("[pool]\ncold = -1\n", ":2", "number");
	refused("[pool]\ncold = -1\nhot = 1\n", ":2", "number");
	refused("[pool]\nmax_sandboxes = 0\n", ":2", "max_sandboxes");
	refused("[pool]\nmax_sandboxes = 99999999\n", ":2", "max_sandboxes");
	refused("[leases]\nmemory = 3 potatoes\n", ":2", "memory");
	refused("[leases]\nstop_grace = 5\n", ":2", "stop_grace");
	refused("[cores]\noversubscribe = maybe\n", ":2", "oversubscribe");
	refused("[log]\nlevel = loud\n", ":2", "level");
	refused("[node]\nlisten = tcp:1\n", ":2", "listen");
}

Test(config, numbers_that_do_not_fit_together)
{
	refused("[pool]\ncold = 9\nmax_sandboxes = 8\n", "9", "8");
}

Test(config, bad_options_name_themselves)
{
	char *bad[][2] = {{"--pool-cold", "x"}, {"--memory", "much"}, {"--nonsense", "1"}};
	for (size_t i = 0; i < 3; i++) {
		cr_assert_lt(parse("", bad[i], 2), 0);
		cr_assert_not_null(strstr(reason, bad[i][0] + 2), "%s", reason);
	}
}

Test(config, a_file_that_is_asked_for_must_be_there)
{
	char *argv[] = {"serve", "--config", "/nonexistent/adverb.conf"};
	cr_assert_lt(adv_config_parse(3, argv, &config, reason, sizeof(reason)), 0);
	cr_assert_not_null(strstr(reason, "/nonexistent/adverb.conf"), "%s", reason);
}

Test(config, it_is_printed_with_its_sources)
{
	char text[4096] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");
	accepted("[pool]\ncold = 31\n");
	adv_config_print(&config, f);
	fclose(f);
	cr_assert_not_null(strstr(text, "[pool] cold"), "%s", text);
	cr_assert_not_null(strstr(text, " 31  (file)\n"), "%s", text);
	cr_assert_not_null(strstr(text, "(default)"), "%s", text);
}

/* modules.c - adverb deploy, list, describe, remove. Main thread. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/fd.h"
#include "util/limits.h"
#include "util/parse.h"

#define PATH_MAX_BYTES 128

int cli_module_path(const struct cli_command *self, const char *text, char *path, size_t size)
{
	size_t digits = strspn(text, "0123456789");
	const char *name = digits > 0 && text[digits] == '/' ? text + digits + 1 : text;
	size_t n = strlen(name);
	if (n == 0 || n >= ADV_NAME_MAX || digits > 10 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n)
		return cli_error("%s: \"%.80s\" is not a module's name: 1 to %d of a-z A-Z 0-9 . _ "
				 "-, or OWNER/NAME (see adverb list)",
				 self->name, text, ADV_NAME_MAX - 1);
	snprintf(path, size, "/v1/modules/%s", text);
	return EXIT_SUCCESS;
}

static void print_functions(const json_t *module)
{
	size_t i;
	json_t *f;
	json_array_foreach (json_object_get(module, "functions"), i, f) {
		const char *text = cli_text(f, "description");
		printf("  %s/%s%s%s\n", cli_text(module, "name"), cli_text(f, "name"),
		       text[0] != '\0' ? "  " : "", text);
	}
}

/* "alice,1002": names or uids. */
static int parse_tenants(char *list, uint32_t *tenants, uint32_t *nr)
{
	for (char *name; (name = strsep(&list, ",")) != NULL; (*nr)++) {
		uint64_t uid;
		const struct passwd *user = getpwnam(name);
		if (*nr == ADV_MODULE_TENANTS_MAX)
			return cli_error("deploy: --tenants lists at most %d: make it --public",
					 ADV_MODULE_TENANTS_MAX);
		if (user != NULL)
			uid = user->pw_uid;
		else if (adv_parse_u64(name, &uid) < 0 || uid >= UINT32_MAX)
			return cli_error("deploy: --tenants: \"%.80s\" is no user of this machine",
					 name);
		tenants[*nr] = (uint32_t)uid;
	}
	return EXIT_SUCCESS;
}

static bool profile_flag(const char *name, uint32_t *flags)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} profiles[] = {{"strict", ADV_DEPLOY_STRICT},
			{"libc", ADV_DEPLOY_LIBC},
			{"threads", ADV_DEPLOY_THREADS}};
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
		if (strcmp(name, profiles[i].name) == 0) {
			*flags |= profiles[i].flag;
			return true;
		}
	return false;
}

static void print_profile(const json_t *module)
{
	const char *why = cli_text(module, "profile_why");
	printf("%s%s%s%s\n", cli_text(module, "profile"), why[0] != '\0' ? " (" : "", why,
	       why[0] != '\0' ? ")" : "");
}

int cli_deploy(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	bool is_public = false;
	const char *list = NULL, *profile = NULL;
	uint32_t tenants[ADV_MODULE_TENANTS_MAX], nr_tenants = 0;
	uint64_t hot = UINT64_MAX;
	const struct cli_option options[] = {
		{"public", NULL, CLI_FLAG, &is_public, "every tenant may lease it"},
		{"tenants", "LIST", CLI_TEXT, &list,
		 "these users may lease it too, like alice,1002"},
		{"hot", "N", CLI_NUMBER, &hot, "keep N sandboxes with it loaded"},
		{"profile", "P", CLI_TEXT, &profile,
		 "strict: no file, one thread; libc: what the operator shows, to read; threads; "
		 "default: what it is seen to need"},
		{0},
	};
	struct adv_node *node;
	int n = cli_parse(argc, argv, self, options, &common, 2, 2);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (hot != UINT64_MAX && hot > 64)
		return cli_error("deploy: --hot must be at most 64");
	uint32_t flags = is_public ? ADV_DEPLOY_PUBLIC : 0;
	if (hot != UINT64_MAX)
		flags |= ADV_DEPLOY_HOT((uint32_t)hot);
	if (profile != NULL && !profile_flag(profile, &flags))
		return cli_error("deploy: --profile %.32s: must be strict, libc or threads",
				 profile);
	ADV_CLEANUP_FREE char *names = list != NULL ? strdup(list) : NULL;
	if (names != NULL && parse_tenants(names, tenants, &nr_tenants) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	char path[PATH_MAX_BYTES];
	if (cli_module_path(self, argv[0], path, sizeof(path)) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (access(argv[1], R_OK) < 0)
		return cli_error("cannot read %s: %m", argv[1]);
	if (cli_connect(&common, &node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	int rc = EXIT_SUCCESS;
	json_t *answer = NULL;
	if (adv_deploy_for(node, argv[0], argv[1], flags, tenants, nr_tenants) != ADV_OK)
		rc = cli_error("%s", adv_error());
	else
		answer = cli_ask(node, "GET", path);
	if (answer != NULL && common.json) {
		rc = cli_print_json(answer);
	} else if (answer != NULL) {
		const json_t *m = json_object_get(answer, "module");
		printf("deployed %s, profile ", argv[0]);
		print_profile(m);
		print_functions(m);
		json_decref(answer);
		rc = cli_flush();
	}
	adv_disconnect(node);
	return rc;
}

static void print_list(const json_t *modules)
{
	size_t i;
	json_t *m;
	char size[32];
	if (json_array_size(modules) == 0) {
		puts("no modules: deploy one with adverb deploy NAME FILE.so");
		return;
	}
	printf("%-24s %8s %10s %-7s %s\n", "NAME", "OWNER", "SIZE", "PUBLIC", "FUNCTIONS");
	json_array_foreach (modules, i, m) {
		printf("%-24s %8lld %10s %-7s", cli_text(m, "name"), cli_number(m, "owner"),
		       adv_format_size((uint64_t)cli_number(m, "size"), size, sizeof(size)),
		       json_is_true(json_object_get(m, "public")) ? "yes" : "no");
		size_t k;
		json_t *f;
		json_array_foreach (json_object_get(m, "functions"), k, f)
			printf(" %s", cli_text(f, "name"));
		putchar('\n');
	}
}

static void print_modules(const json_t *answer)
{
	print_list(json_object_get(answer, "modules"));
}

int cli_list(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	return cli_ask_and_print(&common, "GET", "/v1/modules", print_modules);
}

static void print_module(const json_t *answer)
{
	const json_t *m = json_object_get(answer, "module");
	const json_t *hot = json_object_get(m, "hot");
	const json_t *tenant;
	size_t i;
	char size[32], when[32] = "";
	time_t at = (time_t)cli_number(m, "deployed_at");
	struct tm local;
	if (localtime_r(&at, &local) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
	printf("name       %s\nowner      uid %lld\ndigest     %s\nsize       %s\npublic     %s\n",
	       cli_text(m, "name"), cli_number(m, "owner"), cli_text(m, "digest"),
	       adv_format_size((uint64_t)cli_number(m, "size"), size, sizeof(size)),
	       json_is_true(json_object_get(m, "public")) ? "yes" : "no");
	json_array_foreach (json_object_get(m, "tenants"), i, tenant)
		printf("%s%lld", i == 0 ? "tenants    uid " : ", ",
		       (long long)json_integer_value(tenant));
	if (i > 0)
		putchar('\n');
	if (json_is_integer(hot))
		printf("hot pool   %lld sandboxes\n", (long long)json_integer_value(hot));
	else
		printf("hot pool   as the node decides%s\n",
		       json_is_true(json_object_get(m, "poolable"))
			       ? ""
			       : ": it starts threads, so only where there is a freezer");
	printf("profile    ");
	print_profile(m);
	printf("deployed   %s\nfunctions\n", when);
	print_functions(m);
}

/* A command whose only argument is a module's name. */
static int about_module(int argc, char **argv, const struct cli_command *self, const char *method,
			void (*print)(const json_t *answer))
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	char path[PATH_MAX_BYTES];
	int n = cli_parse(argc, argv, self, options, &common, 1, 1);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (cli_module_path(self, argv[0], path, sizeof(path)) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	return cli_ask_and_print(&common, method, path, print);
}

int cli_describe(int argc, char **argv, const struct cli_command *self)
{
	return about_module(argc, argv, self, "GET", print_module);
}

static void print_removed(const json_t *answer)
{
	printf("removed %s\n", cli_text(answer, "removed"));
}

int cli_remove(int argc, char **argv, const struct cli_command *self)
{
	return about_module(argc, argv, self, "DELETE", print_removed);
}

/*
 * config.h - the configuration of `adverb serve`: one table drives the file, the command line, the help and the banner.
 * Start-up only, one thread.
 */
#ifndef ADVERB_NODE_CONFIG_H
#define ADVERB_NODE_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "allocator/cores.h"
#include "allocator/ledger.h"
#include "control/remote.h"
#include "control/tenants.h"
#include "util/log.h"

#define ADV_CONFIG_PATH_MAX 1024

/* Where a value came from: the last one wins. */
enum adv_config_source {
	ADV_CONFIG_DEFAULT,
	ADV_CONFIG_FILE,
	ADV_CONFIG_OPTION,
};

#define ADV_CONFIG_KEYS 32

struct adv_config {
	char state_dir[ADV_CONFIG_PATH_MAX];
	char listen_path[ADV_CONFIG_PATH_MAX]; /* of the control socket, without "unix:" */
	char config_file[ADV_CONFIG_PATH_MAX]; /* that was read; "" when there was none */
	uint32_t pool_cold;
	uint32_t pool_hot;
	uint32_t pool_hot_modules;
	uint64_t pool_memory_bytes;
	uint32_t max_sandboxes;
	char worker_cpus[ADV_CONFIG_PATH_MAX]; /* a CPU list, or "" */
	enum adv_oversubscribe oversubscribe;
	uint32_t bill_days;
	char accounting_listen
		[ADV_CONFIG_PATH_MAX]; /* ADDRESS:PORT of RDMA; "": collects nothing */
	char accounting_report[ADV_CONFIG_PATH_MAX]; /* of the accounting node; "": tells nobody */
	char accounting_key[ADV_CONFIG_PATH_MAX];
	char accounting_by[ADV_CONFIG_PATH_MAX]; /* write, add */
	char poller_cpus[ADV_CONFIG_PATH_MAX];
	char verbs[ADV_CONFIG_PATH_MAX]; /* DEVICE[:PORT] or ADDRESS[:PORT]; "": no verbs */
	char control
		[ADV_CONFIG_PATH_MAX]; /* ADDRESS:PORT of the control API over TCP; "": with verbs, at its address */
	bool insecure_control; /* also beyond loopback */
	uint64_t peer_timeout_ns;
	struct adv_tenants tenants;
	struct adv_prices prices;
	uint32_t nr_pollers;
	enum adv_placement placement;
	uint32_t max_leases;
	uint64_t memory_bytes;	/* that leases may reserve together */
	uint64_t stop_grace_ns; /* between SIGTERM and the end of leases */
	enum adv_log_level log_level;
	enum adv_config_source source[ADV_CONFIG_KEYS]; /* of each key of the table */
};

/*
 * Defaults, then the file, then the options of `adverb serve`. 0; 1: help was printed to standard output; -errno with
 * `reason`: the file and line or the option, the bad value, and what is allowed.
 */
int adv_config_parse(int argc, char **argv, struct adv_config *config, char *reason,
		     size_t reason_size);

/* One line for each key: its value, and where that came from. */
void adv_config_print(const struct adv_config *config, FILE *out);

/* The help of `adverb serve`. */
void adv_config_help(FILE *out);

#endif

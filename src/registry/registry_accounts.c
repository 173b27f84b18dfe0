/* registry_accounts.c - accounts on their way to the registry's thread: nobody waits for them to be stored. Control thread; what is put, on the registry's. */
#include "registry/internal.h"

static int put_ledger(struct adv_store *store, const void *lines, size_t n)
{
	return adv_store_put_ledger(store, lines, n);
}

static int put_bills(struct adv_store *store, const void *bills, size_t n)
{
	return adv_store_put_bills(store, bills, n);
}

static int put_collected(struct adv_store *store, const void *rows, size_t n)
{
	return adv_store_put_collected(store, rows, n);
}

static int forget_bills(struct adv_store *store, const void *before_ms, size_t n)
{
	(void)n;
	return adv_store_forget_bills(store, *(const int64_t *)before_ms);
}

static const struct adv_stored ledger = {put_ledger, "the ledger could not be stored",
					 sizeof(struct adv_ledger_line)};
static const struct adv_stored bills_of_leases = {
	put_bills, "what leases have used could not be stored", sizeof(struct adv_bill)};
static const struct adv_stored accounts_of_nodes = {
	put_collected, "what other nodes have used could not be stored",
	sizeof(struct adv_collected)};
static const struct adv_stored old_bills = {forget_bills, "old bills could not be deleted",
					    sizeof(int64_t)};

int adv_registry_store_ledger(struct adv_registry *r, const struct adv_ledger_line *lines, size_t n)
{
	return adv_registry_store_copy(r, &ledger, lines, n);
}

int adv_registry_store_bills(struct adv_registry *r, const struct adv_bill *bills, size_t n)
{
	return adv_registry_store_copy(r, &bills_of_leases, bills, n);
}

int adv_registry_store_collected(struct adv_registry *r, const struct adv_collected *rows, size_t n)
{
	return adv_registry_store_copy(r, &accounts_of_nodes, rows, n);
}

int adv_registry_forget_bills(struct adv_registry *r, int64_t before_ms)
{
	return adv_registry_store_copy(r, &old_bills, &before_ms, 1);
}

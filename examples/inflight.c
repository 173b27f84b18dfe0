/* inflight.c - many calls in flight over two workers, inputs and outputs in place: prices 64,000 options. */
#include <adverb/client.h>
#include <stdio.h>

#define BATCH	1000 /* options in one call */
#define BATCHES 64
#define SLOTS	8

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, adv_error());
	return 1;
}

static void fill(double *in)
{
	for (int i = 0; i < BATCH; i++) {
		const double option[5] = {90 + i % 20, 100, 0.02, 0.3, 1};
		for (int k = 0; k < 5; k++)
			in[5 * i + k] = option[k];
	}
}

/* A batch's prices lie where the function left them. */
static double sum(const struct adv_completion *done)
{
	const double *prices = done->out;
	double total = 0;
	for (uint32_t i = 0; i < done->out_size / sizeof(double); i++)
		total += prices[i];
	return total;
}

static int price(struct adv_lease *lease, uint32_t function)
{
	struct adv_slot slots[SLOTS];
	uint32_t idle[SLOTS], nr_idle = 0, sent = 0, taken = 0;
	double total = 0;
	for (; nr_idle < SLOTS; nr_idle++) {
		if (adv_slot_get(lease, ADV_ANY_WORKER, &slots[nr_idle]) != ADV_OK)
			return fail("slot");
		fill(slots[nr_idle].in);
		idle[nr_idle] = nr_idle;
	}
	while (taken < BATCHES) {
		struct adv_completion done;
		for (; sent < BATCHES && nr_idle > 0; sent++, nr_idle--) {
			uint32_t at = idle[nr_idle - 1];
			const struct adv_request request = {.size = sizeof(request),
							    .function = function,
							    .in_size = BATCH * 5 * sizeof(double),
							    .slot = &slots[at],
							    .user_data = at};
			if (adv_submit(lease, &request, NULL) != ADV_OK)
				return fail("submit");
		}
		if (adv_wait(lease, &done, 1, 10000000) != 1 || done.status != ADV_OK)
			return fail("wait");
		total += sum(&done);
		idle[nr_idle++] = (uint32_t)done.user_data;
		taken++;
	}
	printf("%u batches of %d options, mean price %.4f\n", taken, BATCH, total / taken / BATCH);
	return 0;
}

int main(void)
{
	struct adv_node *node;
	struct adv_lease *lease;
	struct adv_lease_options options;
	uint32_t function;

	adv_lease_options_init(&options);
	options.workers = 2;
	options.slots = SLOTS / 2;
	options.in_capacity = BATCH * 5 * sizeof(double);
	options.out_capacity = BATCH * sizeof(double);
	if (adv_connect(NULL, &node) != ADV_OK ||
	    adv_lease_open(node, "blackscholes", &options, &lease) != ADV_OK ||
	    adv_function_find(lease, "blackscholes", &function) != ADV_OK)
		return fail("lease");
	int rc = price(lease, function);
	adv_lease_close(lease);
	adv_disconnect(node);
	return rc;
}

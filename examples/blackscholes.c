/*
 * blackscholes.c - prices European call options: an array of five doubles each (spot, strike, rate, volatility, years) in, one
 * double each out. F. Black, M. Scholes: "The Pricing of Options and Corporate Liabilities", 1973.
 */
#include <adverb/function.h>
#include <math.h>

struct option {
	double spot, strike, rate, volatility, years;
};

static double normal(double x)
{
	return 0.5 * erfc(-x * M_SQRT1_2);
}

static double price(const struct option *o)
{
	double root = o->volatility * sqrt(o->years);
	double d1 = (log(o->spot / o->strike) +
		     (o->rate + o->volatility * o->volatility / 2) * o->years) /
		    root;
	return o->spot * normal(d1) - o->strike * exp(-o->rate * o->years) * normal(d1 - root);
}

static uint32_t blackscholes(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	const struct option *options = in;
	double *prices = out;
	uint32_t n = in_size / sizeof(*options);
	if (in_size % sizeof(*options) != 0)
		return adv_fail(ctx, out, "%u bytes are not a whole number of options of %zu bytes",
				in_size, sizeof(*options));
	if (n > ctx->out_capacity / sizeof(*prices))
		return adv_fail(ctx, out, "%u prices do not fit into %u bytes", n,
				ctx->out_capacity);
	for (uint32_t i = 0; i < n; i++)
		prices[i] = price(&options[i]);
	return n * (uint32_t)sizeof(*prices);
}
ADV_FUNCTION(blackscholes, "prices European call options, five doubles in, one out");

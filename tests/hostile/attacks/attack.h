/*
 * attack.h - what every attack has: its own function, and two that behave, for the driver. Runs in a sandbox.
 *
 * attack() is asked for by its form, the first number of its input: an attack that the sandbox kills for has one form for each
 * way to try it. What it saw, errnos as negative numbers, it returns as 64-bit numbers.
 */
#ifndef ADVERB_TESTS_HOSTILE_ATTACK_H
#define ADVERB_TESTS_HOSTILE_ATTACK_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define UNUSED	 __attribute__((unused))

#define NO_SUCH_FORM (-9999)

EXPORTED uint32_t attack(void *in, uint32_t in_size, void *out);
EXPORTED uint32_t answer(void *in, uint32_t in_size, void *out);
EXPORTED uint32_t leave(void *in, uint32_t in_size, void *out);

#define ATTACK uint32_t attack(UNUSED void *in, UNUSED uint32_t in_size, UNUSED void *out)

/* An ordinary call: what it was given, and in front of it how many this worker has answered. */
uint32_t answer(void *in, uint32_t in_size, void *out)
{
	static uint32_t answered;
	answered++;
	memmove((char *)out + sizeof(answered), in, in_size);
	memcpy(out, &answered, sizeof(answered));
	return in_size + (uint32_t)sizeof(answered);
}

/* Makes room for a fresh worker where the attack has left this one alive. */
uint32_t leave(UNUSED void *in, UNUSED uint32_t in_size, UNUSED void *out)
{
	_exit(0);
}

/* The n-th 32-bit number of the input; 0 beyond its end. */
static inline uint32_t argument(const void *in, uint32_t in_size, uint32_t n)
{
	uint32_t value = 0;
	if (in_size >= (n + 1) * sizeof(value))
		memcpy(&value, (const char *)in + n * sizeof(value), sizeof(value));
	return value;
}

/* Appends one number to what is returned; `size` so far. */
static inline uint32_t saw(void *out, uint32_t size, long value)
{
	int64_t number = value;
	memcpy((char *)out + size, &number, sizeof(number));
	return size + (uint32_t)sizeof(number);
}

/* A call's result as one number. */
static inline long outcome(long result)
{
	return result < 0 ? -errno : result;
}

struct call {
	long number;
	long args[6];
};

/* One system call of a table, by its form: what it answers, if that is ever known. */
static inline uint32_t make_call(const struct call *calls, size_t nr, const void *in,
				 uint32_t in_size, void *out)
{
	uint32_t form = argument(in, in_size, 0);
	if (form >= nr)
		return saw(out, 0, NO_SUCH_FORM);
	const long *a = calls[form].args;
	return saw(out, 0,
		   outcome(syscall(calls[form].number, a[0], a[1], a[2], a[3], a[4], a[5])));
}

/* An attack that is nothing but system calls. */
#define ATTACK_BY_CALLS(...)                                                                 \
	ATTACK                                                                               \
	{                                                                                    \
		static const struct call calls[] = {__VA_ARGS__};                            \
		return make_call(calls, sizeof(calls) / sizeof(calls[0]), in, in_size, out); \
	}

/* Keeps the compiler from seeing through what is done on purpose. */
static inline uintptr_t hidden(uintptr_t value)
{
	__asm__ volatile("" : "+r"(value));
	return value;
}

/* The kernel looks for us, and says EFAULT where nothing can be read. */
static inline int readable(uintptr_t page)
{
	return syscall(SYS_faccessat, -1, page, 0) == 0 || errno != EFAULT;
}

#endif

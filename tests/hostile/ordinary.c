/* ordinary.c - what honest code does with libc: all of it must pass the filter. Runs in a sandbox. */
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define ORDINARY(name)                                                                            \
	__attribute__((visibility("default"))) uint32_t name(void *in, uint32_t in_size,          \
							     void *out);                          \
	uint32_t name(__attribute__((unused)) void *in, __attribute__((unused)) uint32_t in_size, \
		      __attribute__((unused)) void *out)

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Large enough that qsort asks the system how much memory there is. 1 when sorted. */
ORDINARY(sorts)
{
	const size_t nr = 300000;
	uint32_t *numbers = malloc(nr * sizeof(*numbers));
	if (numbers == NULL)
		return 0;
	for (size_t i = 0; i < nr; i++)
		numbers[i] = (uint32_t)(i * 2654435761u);
	qsort(numbers, nr, sizeof(*numbers), compare);
	int sorted = 1;
	for (size_t i = 1; i < nr; i++)
		sorted &= numbers[i - 1] <= numbers[i];
	free(numbers);
	memcpy(out, &sorted, sizeof(sorted));
	return sizeof(sorted);
}

ORDINARY(prints)
{
	char text[128], word[32];
	double number = 0;
	FILE *stream = fmemopen(text, sizeof(text), "w+");
	if (stream == NULL)
		return 0;
	fprintf(stream, "%s %.3f %d", "word", 1.5, 42);
	rewind(stream);
	int n = fscanf(stream, "%31s %lf", word, &number);
	fclose(stream);
	printf("a line on standard output\n");
	fprintf(stderr, "a line on standard error\n");
	if (getchar() != EOF)
		return 0;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}

ORDINARY(speaks_locale)
{
	wchar_t wide[16];
	const char *name = setlocale(LC_ALL, "");
	size_t n = mbstowcs(wide, "abc", 16);
	struct lconv *conventions = localeconv();
	if (name == NULL || n != 3 || conventions->decimal_point[0] != '.' || !isalpha('a'))
		return 0;
	return (uint32_t)snprintf(out, 64, "%s", name) + 1;
}

ORDINARY(tells_time)
{
	struct timespec t;
	time_t now = time(NULL);
	struct tm parts;
	const struct timespec nap = {.tv_nsec = 1000};
	clock_gettime(CLOCK_REALTIME, &t);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	nanosleep(&nap, NULL);
	usleep(1);
	localtime_r(&now, &parts);
	return (uint32_t)strftime(out, 64, "%Y", &parts);
}

ORDINARY(allocates)
{
	void *blocks[64];
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < 64; i++)
			blocks[i] = malloc((i + 1) << (8 + round * 2));
		for (size_t i = 0; i < 64; i++) {
			if (blocks[i] == NULL)
				return 0;
			blocks[i] = realloc(blocks[i], (i + 1) << (9 + round * 2));
		}
		for (size_t i = 0; i < 64; i++)
			free(blocks[i]);
	}
	void *aligned = aligned_alloc(4096, 1 << 20);
	free(aligned);
	memcpy(out, "1", 1);
	return aligned != NULL;
}

static jmp_buf escape;

static void on_signal(int number)
{
	siglongjmp(escape, number);
}

/* A handler of its own for its own signal. */
ORDINARY(jumps)
{
	const struct sigaction action = {.sa_handler = on_signal};
	int number = sigsetjmp(escape, 1);
	if (number == 0) {
		sigaction(SIGUSR1, &action, NULL);
		raise(SIGUSR1);
		return 0;
	}
	memcpy(out, &number, sizeof(number));
	return sizeof(number);
}

ORDINARY(computes)
{
	double sum = 0;
	for (int i = 1; i < 1000; i++)
		sum += sin(i) * exp(-i / 100.0) + pow(i, 0.5);
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}

/* What a library asks of the machine before it starts: it may be told anything, but must not die of the question. */
ORDINARY(asks)
{
	long answers[] = {sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_PHYS_PAGES),
			  sysconf(_SC_PAGESIZE), isatty(1), access("/nowhere", R_OK)};
	memcpy(out, answers, sizeof(answers));
	return sizeof(answers);
}

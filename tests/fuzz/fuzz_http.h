/* fuzz_http.h - the node behind fuzz_http.c, faked. */
#ifndef ADVERB_TESTS_FUZZ_HTTP_H
#define ADVERB_TESTS_FUZZ_HTTP_H

/* Ends what waits: the jobs of the registry's thread that no request can wait for any more. */
void fuzz_node_finish(void);

#endif

/* Plays from frames on standard input: cc -std=c99 -O2 -DRTPD_HEADER='"pong-net1.7.h"' main.c
 *
 * In:  for each step one byte, 1 where an episode begins and 0 elsewhere, then a frame of
 *      RTPD_HEIGHT x RTPD_WIDTH grey bytes, row by row.
 * Out: for each step the greedy action and the numbers of all actions, on a line.
 */
#include <stdio.h>
#include RTPD_HEADER

static rtpd_state state;

int main(void)
{
    int first;
    while ((first = getchar()) != EOF) {
        int32_t q[RTPD_ACTIONS];
        if (first) rtpd_reset(&state);
        if (fread(rtpd_next(&state), 1, RTPD_FRAME, stdin) != RTPD_FRAME) {
            fputs("a frame was cut short\n", stderr);
            return 1;
        }
        printf("%ld", (long)rtpd_step(&state, q));
        for (int a = 0; a < RTPD_ACTIONS; a++) printf(" %ld", (long)q[a]);
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}

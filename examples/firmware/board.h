/* What main.c asks of a board. Write these for yours; semihosting.c has them for QEMU and debuggers,
 * host.c for a PC. */
#include <stdint.h>

#define BOARD_TICKS 0xFFFFFFu /* the timer has 24 bits and wraps: a step must be shorter */
#define BOARD_PAINT 0xC5C5C5C5u /* what stack that was never used holds */

/* Read `bytes` from the sensor; 0 where it has no more. */
int board_read(void *to, uint32_t bytes);
/* Hand `bytes` to whatever acts. */
void board_write(const void *from, uint32_t bytes);
/* A timer that counts up; semihosting.c has SysTick, which few parts lack (nRF51 is one). */
uint32_t board_ticks(void);
/* Bytes of call stack that were ever used. */
uint32_t board_stack(void);
/* Tell a figure to whoever watches. */
void board_report(const char *name, uint32_t value);

/* The board is a PC: the sensor is standard input, actions go to standard output. */
#include <stdio.h>

#include "board.h"

int board_read(void *to, uint32_t bytes) { return fread(to, 1, bytes, stdin) == bytes; }
void board_write(const void *from, uint32_t bytes) { fwrite(from, 1, bytes, stdout); }
uint32_t board_ticks(void) { return 0; }
uint32_t board_stack(void) { return 0; }
void board_report(const char *name, uint32_t value)
{
    fprintf(stderr, "%s %lu\n", name, (unsigned long)value);
}

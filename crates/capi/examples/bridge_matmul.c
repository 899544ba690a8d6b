/*
 * Matrix products whose weights lie beside the activations, through ane_bridge.h.
 *
 * One compiled program multiplies any weights: row i of its only input [1, IC, 1, S + OC] is row i
 * of the activations [IC, S], followed by row i of the weights [IC, OC]. The output [1, OC, 1, S]
 * is the transposed weights times the activations. New weights are a write, not a compilation.
 *
 *     cc -std=c99 bridge_matmul.c $(pkg-config --cflags --libs anemone) -lm -o bridge_matmul
 *     ./bridge_matmul packed_matmul.mil
 */
#include <ane_bridge.h>
#include <anemone.h> /* for its conversions to and from fp16 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { IC = 128, OC = 128, S = 64, WIDTH = S + OC, MAX_TEXT = 65536 };

static float activations[IC][S], weights[IC][OC], packed[IC][WIDTH], found[OC][S];
static uint16_t input[IC][WIDTH], output[OC][S];
static char text[MAX_TEXT];

/* The next of a row of numbers from -1/2 to 1/2 that look random. */
static float next(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1u << 24) - 0.5f;
}

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ane_bridge_last_error());
    return EXIT_FAILURE;
}

/* The largest difference to what the product should be. */
static double worst(void) {
    double largest = 0;
    for (int o = 0; o < OC; o++) {
        for (int s = 0; s < S; s++) {
            double sum = 0;
            for (int i = 0; i < IC; i++) {
                sum += (double)weights[i][o] * (double)activations[i][s];
            }
            largest = fmax(largest, fabs(sum - (double)found[o][s]));
        }
    }
    return largest;
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: bridge_matmul packed_matmul.mil\n");
        return EXIT_FAILURE;
    }
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);

    if (ane_bridge_init() != 0) {
        return fail("ane_bridge_init");
    }
    const size_t in_size = sizeof input, out_size = sizeof output;
    ANEKernelHandle *kernel =
        ane_bridge_compile(text, length, NULL, 0, 1, &in_size, 1, &out_size);
    if (kernel == NULL) {
        return fail("ane_bridge_compile");
    }

    for (int i = 0; i < IC; i++) {
        for (int s = 0; s < S; s++) {
            activations[i][s] = next();
        }
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < IC; i++) {
            for (int o = 0; o < OC; o++) {
                weights[i][o] = next();
            }
            for (int c = 0; c < WIDTH; c++) {
                packed[i][c] = c < S ? activations[i][c] : weights[i][c - S];
            }
        }
        anemone_fp32_to_fp16(&packed[0][0], &input[0][0], (size_t)IC * WIDTH);
        ane_bridge_write_input(kernel, 0, input, sizeof input);
        if (!ane_bridge_eval(kernel)) {
            return fail("ane_bridge_eval");
        }
        ane_bridge_read_output(kernel, 0, output, sizeof output);
        anemone_fp16_to_fp32(&output[0][0], &found[0][0], (size_t)OC * S);

        /* Operands, at most 1/2, are rounded to fp16 by at most 2^-13, so 128 products differ by at
         * most 128 * 2 * 2^-13 * 1/2 = 2^-6. The sum, at most 32, is rounded by at most 2^-7. */
        double difference = worst();
        printf("round %d: largest difference %.5f\n", round, difference);
        if (!(difference < 1.0 / 64 + 1.0 / 128)) {
            fprintf(stderr, "that is too much\n");
            return EXIT_FAILURE;
        }
    }
    printf("compiled %d program for all of them\n", ane_bridge_get_compile_count());
    ane_bridge_free(kernel);
    return EXIT_SUCCESS;
}

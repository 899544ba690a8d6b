/*
 * A program from a file with weights from memory, through anemone.h, on any device.
 *
 *     cc -std=c99 linear.c $(pkg-config --cflags --libs anemone) -o linear
 *     ./linear linear.mil [DEVICE]
 */
#include <ane_bridge.h> /* for ane_bridge_build_weight_blob */
#include <anemone.h>

#include <stdio.h>
#include <stdlib.h>

enum { CHANNELS = 64, POSITIONS = 256 };

static float matrix[CHANNELS][CHANNELS];
static float numbers[CHANNELS][POSITIONS];

/* Ends the program if a call has failed. */
static void check(anemone_status status) {
    if (status != ANEMONE_OK) {
        fprintf(stderr, "error %d: %s\n", (int)status, anemone_last_error());
        exit(EXIT_FAILURE);
    }
}

static void print_port(const char *kind, const anemone_port *port) {
    printf("%s %s: %s [", kind, port->name, anemone_dtype_name(port->dtype));
    for (size_t i = 0; i < port->rank; i++) {
        printf("%s%zu", i > 0 ? ", " : "", port->dims[i]);
    }
    printf("], %zu bytes\n", port->bytes);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: linear linear.mil [DEVICE]\n");
        return EXIT_FAILURE;
    }
    anemone_device *device;
    check(anemone_device_open(argc > 2 ? argv[2] : "cpu", &device));
    printf("anemone %s, %s\n", anemone_version(), anemone_device_description(device));

    /* Output o sees input o only, o / 16 times. */
    for (int o = 0; o < CHANNELS; o++) {
        matrix[o][o] = (float)o / 16.0f;
    }
    size_t bytes;
    uint8_t *file = ane_bridge_build_weight_blob(&matrix[0][0], CHANNELS, CHANNELS, &bytes);
    if (file == NULL) {
        fprintf(stderr, "no weight file: %s\n", anemone_last_error());
        return EXIT_FAILURE;
    }
    anemone_weights *weights;
    check(anemone_weights_new(NULL, &weights));
    check(anemone_weights_add(weights, "@model_path/weights/weight.bin", file, bytes));
    ane_bridge_free_blob(file);

    anemone_kernel *kernel;
    check(anemone_compile_file(device, argv[1], weights, NULL, &kernel));
    anemone_weights_free(weights);
    anemone_device_free(device);

    anemone_port in, out;
    size_t x;
    check(anemone_kernel_find_input(kernel, "x", &x));
    check(anemone_kernel_input(kernel, x, &in));
    check(anemone_kernel_output(kernel, 0, &out));
    print_port("input", &in);
    print_port("output", &out);
    for (size_t i = 0; i < anemone_kernel_placement_count(kernel); i++) {
        anemone_placement placement;
        check(anemone_kernel_placement(kernel, i, &placement));
        printf("%s = %s on %s\n", placement.value, placement.op, placement.place);
    }

    /* Positions differ by how much they hold of every channel. The numbers go to the surface
     * itself, without a copy between. */
    for (int c = 0; c < CHANNELS; c++) {
        for (int p = 0; p < POSITIONS; p++) {
            numbers[c][p] = (float)p / POSITIONS;
        }
    }
    anemone_request *request;
    void *memory;
    check(anemone_request_new(kernel, &request));
    check(anemone_request_map_input(request, x, &memory, &bytes));
    check(anemone_fp32_to_fp16(&numbers[0][0], memory, (size_t)CHANNELS * POSITIONS));
    check(anemone_request_unmap_input(request, x));

    check(anemone_request_evaluate(request));

    const void *results;
    check(anemone_request_map_output(request, 0, &results, &bytes));
    check(anemone_fp16_to_fp32(results, &numbers[0][0], (size_t)CHANNELS * POSITIONS));
    check(anemone_request_unmap_output(request, 0));

    /* Position 0 holds nothing, so all channels are alike there; further on the last one leads. */
    printf("channel 63 has %.4f at position 0 and %.4f at position 255\n",
           (double)numbers[63][0], (double)numbers[63][255]);
    for (int p = 0; p < POSITIONS; p++) {
        float sum = 0;
        for (int c = 0; c < CHANNELS; c++) {
            sum += numbers[c][p];
        }
        /* Each of 64 numbers below 1/16 is rounded by at most 2^-16, in sum by 2^-10; twice that
         * is left for the arithmetic before. */
        if (!(sum > 1.0f - 1.0f / 512 && sum < 1.0f + 1.0f / 512)) {
            fprintf(stderr, "the probabilities of position %d add up to %f\n", p, (double)sum);
            return EXIT_FAILURE;
        }
    }
    anemone_request_free(request);
    anemone_kernel_free(kernel);
    return EXIT_SUCCESS;
}

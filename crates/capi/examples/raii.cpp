// The same as linear.c in C++: handles free themselves, mappings end by themselves, and errors are
// exceptions.
//
//     c++ -std=c++11 raii.cpp $(pkg-config --cflags --libs anemone) -o raii
//     ./raii linear.mil [DEVICE]
#include <ane_bridge.h>
#include <anemone.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// What a call came to, as an exception.
class Error : public std::runtime_error {
public:
    explicit Error(anemone_status status)
        : std::runtime_error(anemone_last_error()), status(status), code(anemone_last_error_code()) {}
    const anemone_status status;
    const std::uint32_t code;
};

void check(anemone_status status) {
    if (status != ANEMONE_OK) {
        throw Error(status);
    }
}

// A handle and the function that frees it.
template <typename T, void (*Free)(T *)> struct Freer {
    void operator()(T *handle) const { Free(handle); }
};
using Device = std::unique_ptr<anemone_device, Freer<anemone_device, anemone_device_free>>;
using Weights = std::unique_ptr<anemone_weights, Freer<anemone_weights, anemone_weights_free>>;
using Kernel = std::unique_ptr<anemone_kernel, Freer<anemone_kernel, anemone_kernel_free>>;
using Request = std::unique_ptr<anemone_request, Freer<anemone_request, anemone_request_free>>;
using Blob = std::unique_ptr<void, Freer<void, ane_bridge_free_blob>>;

// Calls a function whose last argument is the place for a handle.
template <typename Handle, typename Make> Handle make(Make call) {
    typename Handle::pointer handle = nullptr;
    check(call(&handle));
    return Handle(handle);
}

// The memory of an input, for as long as this lives.
class Input {
public:
    Input(anemone_request *request, std::size_t index) : request_(request), index_(index) {
        check(anemone_request_map_input(request_, index_, &data_, &bytes_));
    }
    ~Input() { anemone_request_unmap_input(request_, index_); }
    Input(const Input &) = delete;
    Input &operator=(const Input &) = delete;
    std::uint16_t *data() const { return static_cast<std::uint16_t *>(data_); }
    std::size_t size() const { return bytes_ / sizeof(std::uint16_t); }

private:
    anemone_request *request_;
    std::size_t index_;
    void *data_ = nullptr;
    std::size_t bytes_ = 0;
};

// The memory of an output, for as long as this lives.
class Output {
public:
    Output(anemone_request *request, std::size_t index) : request_(request), index_(index) {
        check(anemone_request_map_output(request_, index_, &data_, &bytes_));
    }
    ~Output() { anemone_request_unmap_output(request_, index_); }
    Output(const Output &) = delete;
    Output &operator=(const Output &) = delete;
    const std::uint16_t *data() const { return static_cast<const std::uint16_t *>(data_); }
    std::size_t size() const { return bytes_ / sizeof(std::uint16_t); }

private:
    anemone_request *request_;
    std::size_t index_;
    const void *data_ = nullptr;
    std::size_t bytes_ = 0;
};

const int channels = 64;

Weights diagonal() {
    std::vector<float> matrix(channels * channels, 0.0f);
    for (int o = 0; o < channels; o++) {
        matrix[o * channels + o] = static_cast<float>(o) / 16.0f;
    }
    std::size_t bytes = 0;
    Blob file(ane_bridge_build_weight_blob(matrix.data(), channels, channels, &bytes));
    if (!file) {
        throw std::runtime_error(ane_bridge_last_error());
    }
    Weights weights = make<Weights>(
        [](anemone_weights **handle) { return anemone_weights_new(nullptr, handle); });
    check(anemone_weights_add(weights.get(), "weights/weight.bin", file.get(), bytes));
    return weights;
}

void run(const std::string &path, const std::string &name) {
    Device device = make<Device>([&](anemone_device **handle) {
        return anemone_device_open(name.c_str(), handle);
    });
    Weights weights = diagonal();
    Kernel kernel = make<Kernel>([&](anemone_kernel **handle) {
        return anemone_compile_file(device.get(), path.c_str(), weights.get(), nullptr, handle);
    });
    Request request = make<Request>(
        [&](anemone_request **handle) { return anemone_request_new(kernel.get(), handle); });
    {
        Input input(request.get(), 0);
        std::vector<float> ones(input.size(), 1.0f);
        check(anemone_fp32_to_fp16(ones.data(), input.data(), input.size()));
    }
    check(anemone_request_evaluate(request.get()));

    Output output(request.get(), 0);
    std::vector<float> found(output.size());
    check(anemone_fp16_to_fp32(output.data(), found.data(), found.size()));
    double sum = 0.0;
    for (int o = 0; o < channels; o++) {
        sum += std::exp(o / 16.0);
    }
    const std::size_t positions = found.size() / channels;
    for (int o = 0; o < channels; o++) {
        // The probability, below 1/16, is a rounded fp16 number, as are the logits, which are
        // exact here, and possibly what the softmax goes through: 2^-9 of it is four roundings.
        const double expected = std::exp(o / 16.0) / sum;
        const double difference = std::abs(found[o * positions] - expected);
        if (!(difference <= expected / 512)) {
            throw std::runtime_error("channel " + std::to_string(o) + " is off by " +
                                     std::to_string(difference));
        }
    }
    std::printf("%s: all probabilities are as expected\n", name.c_str());

    // Evaluating now would be an error: the output is mapped.
    if (anemone_request_evaluate(request.get()) != ANEMONE_ERROR_BUSY) {
        throw std::runtime_error("a mapped output should not be computed");
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: raii linear.mil [DEVICE]\n");
        return 1;
    }
    try {
        run(argv[1], argc > 2 ? argv[2] : "cpu");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}

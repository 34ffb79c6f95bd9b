// bedside for C++17: handles that free themselves, and errors as exceptions. Rules of threads and of
// addresses are those of bedside.h.
//
// Research use only. Not a medical device. Not for clinical decisions.
#ifndef BEDSIDE_HPP
#define BEDSIDE_HPP

#include <bedside.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bedside {

/// Why a call did nothing: the cause and a remedy.
class Error : public std::runtime_error {
public:
    explicit Error(bedside_status status) : std::runtime_error(bedside_last_error()), status_(status) {}

    bedside_status status() const noexcept { return status_; }

private:
    bedside_status status_;
};

/// Throw unless a call succeeded.
inline void check(bedside_status status) {
    if (status != BEDSIDE_STATUS_OK) throw Error(status);
}

/// What to find; see bedside_prompt. Empty: not given.
struct Prompt {
    std::string text;
    std::string modality = {};
    std::string site = {};
};

/// One finding with its texts.
struct Finding : bedside_finding {
    std::string prompt;
    std::string object;
    std::string meta_object;
};

namespace detail {

/// Owner of a handle.
template <typename Handle, bedside_status (*free)(Handle)>
class Owned {
public:
    Owned() noexcept = default;
    explicit Owned(Handle handle) noexcept : handle_(handle) {}
    Owned(Owned &&other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
    Owned &operator=(Owned &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Owned() { free(handle_); }

    Handle get() const noexcept { return handle_; }

private:
    Handle handle_ = {};
};

inline std::vector<bedside_prompt> borrowed(const std::vector<Prompt> &prompts) {
    const auto given = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
    std::vector<bedside_prompt> all;
    for (const Prompt &prompt : prompts)
        all.push_back({prompt.text.c_str(), given(prompt.modality), given(prompt.site)});
    return all;
}

} // namespace detail

/// Findings on one frame.
class Answer : public detail::Owned<bedside_answer, bedside_answer_free> {
public:
    using Owned::Owned;

    bedside_summary summary() const {
        bedside_summary summary;
        check(bedside_answer_summary(get(), &summary));
        return summary;
    }

    /// Number of findings, one a prompt.
    std::size_t size() const { return summary().findings; }

    Finding finding(std::size_t index) const {
        Finding finding;
        check(bedside_answer_finding(get(), index, &finding));
        finding.prompt = text(index, BEDSIDE_TEXT_PROMPT);
        finding.object = text(index, BEDSIDE_TEXT_OBJECT);
        finding.meta_object = text(index, BEDSIDE_TEXT_META_OBJECT);
        return finding;
    }

    /// Pixels of the frame row by row, 0 outside and 1 inside.
    std::vector<std::uint8_t> mask(std::size_t index) const {
        const bedside_summary size = summary();
        std::vector<std::uint8_t> pixels(std::size_t{size.width} * size.height);
        mask(index, pixels.data(), pixels.size(), size.width);
        return pixels;
    }

    /// The same into memory of the caller's, `stride` bytes from one row to the next.
    void mask(std::size_t index, std::uint8_t *buffer, std::size_t size, std::size_t stride) const {
        check(bedside_answer_mask(get(), index, buffer, size, stride));
    }

    /// COCO's run lengths; none without a mask.
    std::vector<std::uint32_t> runs(std::size_t index) const {
        std::size_t length = 0;
        check(bedside_answer_runs(get(), index, nullptr, 0, &length));
        std::vector<std::uint32_t> counts(length);
        check(bedside_answer_runs(get(), index, counts.data(), counts.size(), &length));
        return counts;
    }

    /// The same as pycocotools' compressed text.
    std::string rle(std::size_t index) const { return text(index, BEDSIDE_TEXT_RLE); }

private:
    std::string text(std::size_t index, bedside_text which) const {
        std::size_t length = 0;
        check(bedside_answer_text(get(), index, which, nullptr, 0, &length));
        std::string text(length + 1, '\0');
        check(bedside_answer_text(get(), index, which, text.data(), text.size(), &length));
        text.pop_back();
        return text;
    }
};

/// Prompts made ready, for every segmenter of their bundle and precision.
class Prompts : public detail::Owned<bedside_prompts, bedside_prompts_free> {
public:
    using Owned::Owned;
};

/// A frame after the image encoder; see bedside_encode.
class Encoded : public detail::Owned<bedside_encoded, bedside_encoded_free> {
public:
    using Owned::Owned;
};

/// A loaded bundle that has passed its self-test.
class Segmenter : public detail::Owned<bedside_segmenter, bedside_segmenter_free> {
public:
    using Owned::Owned;

    explicit Segmenter(const std::string &bundle, const bedside_options &options = {})
        : Owned(open(bundle, options)) {}

    /// A further one with the same weights, for another thread.
    Segmenter share() const {
        bedside_segmenter shared;
        check(bedside_segmenter_share(get(), &shared));
        return Segmenter(shared);
    }

    Prompts prompts(const std::vector<Prompt> &prompts) const {
        const auto borrowed = detail::borrowed(prompts);
        bedside_prompts ready;
        check(bedside_prompts_new(get(), borrowed.data(), borrowed.size(), &ready));
        return Prompts(ready);
    }

    Answer segment(const Prompts &prompts, const bedside_frame &frame) const {
        bedside_answer answer;
        check(bedside_segment(get(), prompts.get(), &frame, &answer));
        return Answer(answer);
    }

    /// To ask these prompts and others of one frame; see bedside_encode.
    Encoded encode(const Prompts &prompts, const bedside_frame &frame) const {
        bedside_encoded encoded;
        check(bedside_encode(get(), prompts.get(), &frame, &encoded));
        return Encoded(encoded);
    }

    Answer decode(const Encoded &encoded, const Prompts &prompts) const {
        bedside_answer answer;
        check(bedside_decode(get(), encoded.get(), prompts.get(), &answer));
        return Answer(answer);
    }

    /// All that the model knows there; empty: see bedside_recognize.
    Answer recognize(const bedside_frame &frame, const std::string &modality = {},
                     const std::string &site = {}) const {
        const auto given = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
        bedside_answer answer;
        check(bedside_recognize(get(), &frame, given(modality), given(site), &answer));
        return Answer(answer);
    }

private:
    static bedside_segmenter open(const std::string &bundle, const bedside_options &options) {
        bedside_segmenter segmenter;
        check(bedside_segmenter_open(bundle.c_str(), &options, &segmenter));
        return segmenter;
    }
};

/// See bedside_suited_side.
inline std::uint32_t suited_side(const std::string &bundle, const std::vector<Prompt> &prompts) {
    const auto borrowed = detail::borrowed(prompts);
    std::uint32_t side = 0;
    check(bedside_suited_side(bundle.c_str(), borrowed.data(), borrowed.size(), &side));
    return side;
}

/// See bedside_frame_of_buffer.
inline bedside_frame frame(std::uint32_t width, std::uint32_t height, bedside_pixel_format format,
                           const std::uint8_t *buffer, std::size_t size, std::size_t stride) {
    bedside_frame frame;
    check(bedside_frame_of_buffer(width, height, format, buffer, size, stride, &frame));
    return frame;
}

} // namespace bedside

#endif

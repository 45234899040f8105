//! GGUF files imported as Hugging Face checkpoint directories.

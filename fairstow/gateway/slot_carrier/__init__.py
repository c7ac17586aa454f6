"""The container beside a llama.cpp engine that carries its slots' files to other pods."""

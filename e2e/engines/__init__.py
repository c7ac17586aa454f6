"""Real inference engines that tests run: installed once into a cache, started as processes."""

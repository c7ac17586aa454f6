package dev.fairstow.spark.test;

import dev.fairstow.spark.FairSchedulingPlugin;

/** The plugin in a Spark whose scheduler has renamed the field that it replaces. */
public final class Renamed extends FairSchedulingPlugin {
    @Override
    protected String field() {
        return "renamed";
    }
}
